"""The pillar of a node: what its role may know, derived from the definition, and nothing else.

There is no secret in it: join material is made when it is needed and sealed for one node.
"""

from __future__ import annotations

from typing import Any

from saltern import artefacts, charts, crio, haproxy, keepalived, kubeadm, node_marks, operating_system, verification
from saltern.model import Cluster
from saltern.parts import Architecture, Node

UNIT_DIRECTORY = "/etc/systemd/system"


def build(cluster: Cluster, minion_id: str, arch: Architecture | None = None) -> dict[str, Any]:
    """The pillar of a minion.

    Args:
        cluster: the definition.
        minion_id: the minion's ID, which is its name in the table.
        arch: the architecture of its artefacts; by default that of its row.

    Returns:
        ``{"saltern": {...}}`` as docs/architecture.md shows it, of plain types only; ``{}`` for an unknown minion.
    """
    node = cluster.nodes.get(minion_id)
    if node is None:
        return {}
    pillar = common(cluster, node)
    if node.role == "load_balancer":
        pillar["haproxy"] = haproxy.build(cluster, node)
        if cluster.settings.virtual_address:
            pillar["keepalived"] = keepalived.build(cluster, node, cluster.settings.virtual_address)
        return {"saltern": pillar}
    pillar["artefacts"] = artefacts.build(cluster, node, arch or node.arch)
    pillar["crio"] = crio.build(cluster)
    pillar["kubelet"] = kubelet(cluster)
    pillar["kubeadm"] = kubeadm.build(cluster, node)
    if node.role == "control_plane":
        pillar["charts"] = charts.build(cluster)
        pillar["verification"] = verification.build(cluster)
        pillar["marks"] = node_marks.build(cluster)
    return {"saltern": pillar}


def common(cluster: Cluster, node: Node) -> dict[str, Any]:
    """What every role knows: the cluster's outline, its own row, and how its operating system is to be."""
    operator = cluster.operator
    return {
        "cluster": outline(cluster),
        "node": own_row(cluster, node),
        "nodes": [{"name": row.name, "role": row.role, "address": str(row.address)} for row in cluster.nodes.values()],
        "operator": {"user": operator.user, "group": operator.group, "home": operator.home},
        "paths": cluster.paths.model_dump(),
        "os": operating_system.build(cluster, node),
        "artefacts": [],
    }


def outline(cluster: Cluster) -> dict[str, Any]:
    """Names, networks and version of the cluster."""
    return {
        "name": cluster.name,
        "endpoint": {"address": str(cluster.endpoint.address), "port": cluster.endpoint.port},
        "service_cidr": str(cluster.settings.service_cidr),
        "pod_cidr": str(cluster.settings.pod_cidr),
        "kubernetes_version": cluster.versions.kubernetes,
        "dns_address": str(cluster.dns_service_address),
    }


def own_row(cluster: Cluster, node: Node) -> dict[str, Any]:
    """The node itself and its network."""
    network = cluster.network
    return {
        "name": node.name,
        "role": node.role,
        "address": str(node.address),
        "prefix_length": network.cidr.prefixlen,
        "gateway": str(network.gateway),
        "dns": [str(address) for address in network.dns],
        # What the machine is to be: the preflight compares it with what it is.
        "arch": node.arch,
        "cpus": node.cpus,
        "memory_gib": node.memory_gib,
        "disk_gib": node.disk_gib,
    }


def kubelet(cluster: Cluster) -> dict[str, str]:
    """Where the kubelet's unit, its drop-in, its binary and its configuration are."""
    return {
        "unit": f"{UNIT_DIRECTORY}/kubelet.service",
        "drop_in": f"{UNIT_DIRECTORY}/kubelet.service.d/10-kubeadm.conf",
        "binary": f"{cluster.paths.sandbox}/bin/kubelet",
        "config_path": "/var/lib/kubelet/config.yaml",  # kubeadm's: KubeletRunDirectory
        "environment_path": f"{cluster.paths.sandbox}/etc/default/kubelet",
    }
