"""The Helm releases of the cluster: Cilium and MetalLB, their values and MetalLB's pools."""

from __future__ import annotations

from typing import Any

from saltern.artefacts import chart_file
from saltern.merging import merged
from saltern.model import Cluster

# Above so many nodes Cilium's operator has a second replica: one leads, one waits, and they never share a node.
NODES_OF_ONE_OPERATOR = 2
METALLB_NAMESPACE = "metallb-system"
METALLB_API = "metallb.io/v1beta1"


def build(cluster: Cluster) -> dict[str, Any]:
    """The part ``charts`` of a control-plane node's pillar."""
    return {
        "cilium": release(cluster, "cilium", "kube-system", cilium_values(cluster)),
        "metallb": {
            **release(cluster, "metallb", METALLB_NAMESPACE, metallb_values(cluster)),
            "manifests": metallb_manifests(cluster),
        },
    }


def release(cluster: Cluster, name: str, namespace: str, values: dict[str, Any]) -> dict[str, Any]:
    """A Helm release from its chart in the sandbox."""
    version = cluster.versions.artefacts[f"{name}-chart"].version
    return {
        "chart": f"{cluster.paths.sandbox}/{chart_file(name, version)}",
        "release": name,
        "namespace": namespace,
        "version": version,
        "values": values,
    }


def cilium_values(cluster: Cluster) -> dict[str, Any]:
    """Cilium's values: reference document 0's, with the definition's own over them."""
    sandbox, endpoint = cluster.paths.sandbox, cluster.endpoint
    replicas = 2 if len(cluster.kubernetes_nodes) > NODES_OF_ONE_OPERATOR else 1
    derived: dict[str, Any] = {
        "k8sServiceHost": str(endpoint.address),
        "k8sServicePort": endpoint.port,
        "ipv4NativeRoutingCIDR": str(cluster.settings.pod_cidr),
        "operator": {"replicas": replicas},
        "daemon": {"runPath": f"{sandbox}/var/run/cilium"},
        "cni": {"exclusive": True, "binPath": f"{sandbox}/opt/cni/bin", "confPath": f"{sandbox}/etc/cni/net.d"},
    }
    return merged(merged(CILIUM, derived), cluster.cilium.values)


# What does not depend on the cluster. Chart: cilium 1.20, values.yaml.
CILIUM: dict[str, Any] = {
    "kubeProxyReplacement": True,
    "ipam": {"mode": "kubernetes"},
    "k8s": {"requireIPv4PodCIDR": True},
    "ipv6": {"enabled": False},
    "routingMode": "native",
    "autoDirectNodeRoutes": True,
    # acceleration "best-effort" made links of real network cards flap.
    "loadBalancer": {"mode": "dsr", "dsrDispatch": "opt", "algorithm": "maglev", "acceleration": "disabled"},
    "nodePort": {"enabled": True},
    "hostPort": {"enabled": True},
    "bpf": {"masquerade": True, "lbExternalClusterIP": True, "preallocateMaps": True},
    "ipMasqAgent": {"enabled": True, "config": {"nonMasqueradeCIDRs": []}},
    # Envoy carries nothing but layer-7 policies: neither its pods nor the agent's own.
    "envoy": {"enabled": False},
    "l7Proxy": False,
    "hubble": {
        "enabled": True,
        "relay": {"enabled": True},
        "ui": {"enabled": False},
        "tls": {"auto": {"method": "helm"}},
    },
    # MetalLB announces addresses.
    "l2announcements": {"enabled": False},
    "bgpControlPlane": {"enabled": False},
    "k8sClientRateLimit": {"qps": 100, "burst": 150},
}


def metallb_values(cluster: Cluster) -> dict[str, Any]:
    """MetalLB's values: layer 2 only, ready as soon as it is, with the definition's own over them."""
    # The chart's default waits 10 s before it asks for the first time, twice in a row during a bring-up.
    probe = {"initialDelaySeconds": 1, "periodSeconds": 3}
    derived: dict[str, Any] = {
        "controller": {"readinessProbe": dict(probe)},
        "speaker": {"frr": {"enabled": False}, "readinessProbe": dict(probe)},
        "frrk8s": {"enabled": False},
    }
    return merged(derived, cluster.metallb.values)


def metallb_manifests(cluster: Cluster) -> list[dict[str, Any]]:
    """One IPAddressPool a pool, and one L2Advertisement for all."""
    pools = cluster.metallb.pools
    return [
        *(
            custom("IPAddressPool", name, {"addresses": [str(addresses) for addresses in ranges]})
            for name, ranges in pools.items()
        ),
        custom("L2Advertisement", cluster.name, {"ipAddressPools": list(pools)}),
    ]


def custom(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """One of MetalLB's own resources."""
    return {
        "apiVersion": METALLB_API,
        "kind": kind,
        "metadata": {"name": name, "namespace": METALLB_NAMESPACE},
        "spec": spec,
    }
