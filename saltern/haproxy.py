"""What a load balancer passes on to whom."""

from __future__ import annotations

from typing import Any

from saltern.model import Cluster
from saltern.parts import Node

# kubeadm's certificate authority, once the cluster has one: until then the API's certificate cannot be verified.
CA_PATH = "/etc/haproxy/kubernetes-ca.crt"
# Where the node itself asks how the servers are, and has one sent nothing new; no network reaches it.
SOCKET = "/run/haproxy-stats.sock"
# Where the node's own keepalived asks whether HAProxy is alive.
ALIVE = "127.0.0.1:8405"
API = "kubernetes-api"
# How a backend's servers are checked: GET /readyz over TLS answers 200, or the port takes a connection.
READY = "api"
CONNECTS = "tcp"


def build(cluster: Cluster, node: Node) -> dict[str, Any]:
    """The part ``haproxy`` of a load balancer's pillar. Addresses are ADDRESS:PORT."""
    port = cluster.settings.api_port
    ingress = ingress_ports(cluster)
    services = [(name, public) for name, public, _ in ingress]
    return {
        "frontends": [frontend(name, bind(cluster, node, public)) for name, public in [(API, port), *services]],
        "backends": [
            backend(API, READY, cluster.control_plane, port),
            *(backend(name, CONNECTS, cluster.workers, node_port) for name, _, node_port in ingress),
        ],
        "ca_path": CA_PATH,
        "stats": cluster.haproxy.stats.model_dump() if cluster.haproxy.stats else None,
        "socket": SOCKET,
        "alive": ALIVE if cluster.settings.virtual_address else None,
    }


def bind(cluster: Cluster, node: Node, port: int) -> str:
    """What to listen on: with a shared address every address, because the shared one comes and goes."""
    return f"*:{port}" if cluster.settings.virtual_address else f"{node.address}:{port}"


def frontend(name: str, bound: str) -> dict[str, str]:
    """A frontend with the backend of the same name."""
    return {"name": name, "bind": bound, "backend": name}


def backend(name: str, check: str, nodes: list[Node], port: int) -> dict[str, Any]:
    """A backend: how its servers are checked, and the servers."""
    servers = [{"name": node.name, "address": f"{node.address}:{port}"} for node in nodes]
    return {"name": name, "check": check, "servers": servers}


def ingress_ports(cluster: Cluster) -> list[tuple[str, int, int]]:
    """Name, public port and node port of each ingress frontend."""
    ingress = cluster.haproxy.ingress
    if ingress is None:
        return []
    return [("ingress-http", 80, ingress.http_node_port), ("ingress-https", 443, ingress.https_node_port)]
