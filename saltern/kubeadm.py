"""kubeadm's documents (v1beta4) for a node. No token, no key: join material is made when it is needed."""

from __future__ import annotations

from typing import Any

from saltern import crio
from saltern.merging import merged
from saltern.model import Cluster
from saltern.parts import Node

KUBEADM_API = "kubeadm.k8s.io/v1beta4"
KUBELET_API = "kubelet.config.k8s.io/v1beta1"
# Cilium's operator takes this taint away when the agent of the node is ready: no pod starts without its network.
CILIUM_TAINT = {"key": "node.cilium.io/agent-not-ready", "value": "true", "effect": "NoExecute"}
CONTROL_PLANE_TAINT = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}


def build(cluster: Cluster, node: Node) -> dict[str, Any]:
    """The part ``kubeadm`` of a node's pillar.

    A worker learns how to join, and of the cluster what its kubelet's configuration is made of.
    """
    common = {
        "join": join(cluster, node),
        "kubelet": kubelet(cluster),
        "ignore_preflight_errors": list(cluster.kubeadm.ignore_preflight_errors),
    }
    if node.role == "worker":
        return common | {"cluster": outline(cluster)}
    return common | {
        "init": init(cluster, node),
        "cluster": cluster_configuration(cluster),
        "token_ttl_minutes": cluster.kubeadm.token_ttl_minutes,
    }


def document(kind: str, **fields: Any) -> dict[str, Any]:
    """A kubeadm document of a kind."""
    return {"apiVersion": KUBEADM_API, "kind": kind, **fields}


def registration(cluster: Cluster, node: Node) -> dict[str, Any]:
    """How a node presents itself to the cluster."""
    control_plane = [dict(CONTROL_PLANE_TAINT)] if node.role == "control_plane" else []
    return {
        "name": node.name,
        "criSocket": crio.socket_url(cluster.paths.sandbox),
        "imagePullPolicy": "IfNotPresent",
        "taints": [*control_plane, dict(CILIUM_TAINT)],
        "kubeletExtraArgs": arguments({"node-ip": str(node.address)}),
    }


def arguments(values: dict[str, str]) -> list[dict[str, str]]:
    """Extra arguments in v1beta4's form: a list, because a flag may come twice."""
    return [{"name": name, "value": value} for name, value in values.items()]


def local_endpoint(cluster: Cluster, node: Node) -> dict[str, Any]:
    """Where this node's own API server listens."""
    return {"advertiseAddress": str(node.address), "bindPort": cluster.settings.api_port}


def init(cluster: Cluster, node: Node) -> dict[str, Any]:
    """The InitConfiguration of a control-plane node; kube-proxy is left out because Cilium replaces it."""
    return document(
        "InitConfiguration",
        localAPIEndpoint=local_endpoint(cluster, node),
        nodeRegistration=registration(cluster, node),
        skipPhases=["addon/kube-proxy"],
    )


def join(cluster: Cluster, node: Node) -> dict[str, Any]:
    """The JoinConfiguration of a node, without the part ``discovery`` that holds join material."""
    wanted = document(
        "JoinConfiguration",
        caCertPath=f"{certificates_directory(cluster)}/ca.crt",
        nodeRegistration=registration(cluster, node),
    )
    if node.role == "control_plane":
        wanted["controlPlane"] = {"localAPIEndpoint": local_endpoint(cluster, node)}
    return wanted


def certificates_directory(cluster: Cluster) -> str:
    """Where kubeadm keeps certificates and keys."""
    return f"{cluster.paths.sandbox}/etc/kubernetes/pki"


def outline(cluster: Cluster) -> dict[str, Any]:
    """The ClusterConfiguration as far as a kubelet depends on it: version, networks, where the CA is."""
    settings = cluster.settings
    return document(
        "ClusterConfiguration",
        clusterName=cluster.name,
        kubernetesVersion=f"v{cluster.versions.kubernetes}",
        controlPlaneEndpoint=str(cluster.endpoint),
        certificatesDir=certificates_directory(cluster),
        networking={"serviceSubnet": str(settings.service_cidr), "podSubnet": str(settings.pod_cidr)},
    )


def cluster_configuration(cluster: Cluster) -> dict[str, Any]:
    """The ClusterConfiguration, the same on every control-plane node."""
    settings = cluster.settings
    return outline(cluster) | {
        "caCertificateValidityPeriod": f"{cluster.kubeadm.ca_validity_h}h0m0s",
        "certificateValidityPeriod": f"{cluster.kubeadm.certificate_validity_h}h0m0s",
        "apiServer": {"certSANs": api_names(cluster)},
        "controllerManager": {"extraArgs": arguments({"node-cidr-mask-size": str(settings.pod_cidr_node_mask)})},
        "etcd": {"local": {"dataDir": f"{cluster.paths.sandbox}/var/lib/etcd"}},
    }


def api_names(cluster: Cluster) -> list[str]:
    """Addresses and names that the API's certificate holds: the endpoint, and each load balancer of its own."""
    rows = [text for node in cluster.load_balancers for text in (str(node.address), node.name)]
    return list(dict.fromkeys([str(cluster.endpoint.address), *rows]))


def kubelet(cluster: Cluster) -> dict[str, Any]:
    """The KubeletConfiguration of the whole cluster.

    ``resolvConf`` is not here: whether systemd-resolved runs is each node's own fact, and the node's state adds it.
    """
    wanted = {
        "apiVersion": KUBELET_API,
        "kind": "KubeletConfiguration",
        "cgroupDriver": "systemd",
        "failSwapOn": True,
    }
    return merged(wanted, cluster.kubelet.config)
