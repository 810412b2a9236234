"""kubeadm's documents."""

from __future__ import annotations

from saltern import kubeadm
from tests.unit.saltern.definitions import shipped

CILIUM_TAINT = {"key": "node.cilium.io/agent-not-ready", "value": "true", "effect": "NoExecute"}


def built(tmp_path, name="saw-k8s-m-02", cluster=None):
    found = shipped(tmp_path, cluster)
    return kubeadm.build(found, found.nodes[name])


def test_documents_are_v1beta4(tmp_path):
    documents = built(tmp_path)
    found = {name: (documents[name]["apiVersion"], documents[name]["kind"]) for name in ("init", "cluster", "join")}
    assert found == {
        "init": ("kubeadm.k8s.io/v1beta4", "InitConfiguration"),
        "cluster": ("kubeadm.k8s.io/v1beta4", "ClusterConfiguration"),
        "join": ("kubeadm.k8s.io/v1beta4", "JoinConfiguration"),
    }
    assert documents["kubelet"]["apiVersion"] == "kubelet.config.k8s.io/v1beta1"


def test_init_of_a_node(tmp_path):
    init = built(tmp_path)["init"]
    assert init["localAPIEndpoint"] == {"advertiseAddress": "192.168.100.152", "bindPort": 6443}
    assert init["skipPhases"] == ["addon/kube-proxy"]
    assert init["nodeRegistration"] == {
        "name": "saw-k8s-m-02",
        "criSocket": "unix:///opt/sandbox/var/run/crio/crio.sock",
        "imagePullPolicy": "IfNotPresent",
        "taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}, CILIUM_TAINT],
        "kubeletExtraArgs": [{"name": "node-ip", "value": "192.168.100.152"}],
    }


def test_the_cluster_is_reached_through_the_load_balancer(tmp_path):
    cluster = built(tmp_path)["cluster"]
    assert cluster["controlPlaneEndpoint"] == "192.168.100.150:6443"
    assert cluster["apiServer"]["certSANs"] == ["192.168.100.150", "saw-k8s-ha-01"]


def test_the_certificate_names_the_shared_address_and_each_load_balancer(tmp_path):
    row = {"role": "load_balancer", "address": "192.168.100.158", "cpus": 2, "memory_gib": 4, "disk_gib": 20}
    two = {"cluster": {"virtual_address": "192.168.100.149"}, "nodes": {"saw-k8s-ha-02": row}}
    cluster = built(tmp_path, cluster=two)["cluster"]
    assert cluster["controlPlaneEndpoint"] == "192.168.100.149:6443"
    names = ["192.168.100.149", "192.168.100.150", "saw-k8s-ha-01", "192.168.100.158", "saw-k8s-ha-02"]
    assert cluster["apiServer"]["certSANs"] == names


def test_the_cluster_is_the_same_on_every_control_plane_node(tmp_path):
    assert built(tmp_path, "saw-k8s-m-01")["cluster"] == built(tmp_path, "saw-k8s-m-03")["cluster"]


def test_paths_networks_version_and_validity(tmp_path):
    cluster = built(tmp_path)["cluster"]
    assert cluster["kubernetesVersion"] == "v1.36.4"
    assert cluster["certificatesDir"] == "/opt/sandbox/etc/kubernetes/pki"
    assert cluster["etcd"] == {"local": {"dataDir": "/opt/sandbox/var/lib/etcd"}}
    assert cluster["networking"] == {"serviceSubnet": "10.0.0.0/14", "podSubnet": "10.4.0.0/14"}
    assert cluster["controllerManager"]["extraArgs"] == [{"name": "node-cidr-mask-size", "value": "24"}]
    assert cluster["caCertificateValidityPeriod"] == "87600h0m0s"
    assert cluster["certificateValidityPeriod"] == "8760h0m0s"


def test_a_control_plane_node_joins_as_one(tmp_path):
    join = built(tmp_path, "saw-k8s-m-03")["join"]
    assert join["controlPlane"] == {"localAPIEndpoint": {"advertiseAddress": "192.168.100.153", "bindPort": 6443}}
    assert join["caCertPath"] == "/opt/sandbox/etc/kubernetes/pki/ca.crt"
    assert "discovery" not in join


def test_a_worker_joins_with_ciliums_taint_only(tmp_path):
    documents = built(tmp_path, "saw-k8s-w-01", {"kubeadm": {"ignore_preflight_errors": ["Swap"]}})
    assert "controlPlane" not in documents["join"]
    assert documents["join"]["nodeRegistration"]["taints"] == [CILIUM_TAINT]
    assert documents["ignore_preflight_errors"] == ["Swap"]


def test_the_kubelet_takes_the_definitions_settings(tmp_path):
    wanted = {"kubelet": {"config": {"failCgroupV1": False, "failSwapOn": False, "logging": {"verbosity": 2}}}}
    assert built(tmp_path, cluster=wanted)["kubelet"] == {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "systemd",
        "failSwapOn": False,
        "failCgroupV1": False,
        "logging": {"verbosity": 2},
    }


def test_the_resolver_is_left_to_the_node(tmp_path):
    assert "resolvConf" not in built(tmp_path)["kubelet"]


def test_the_tokens_life_is_the_definitions(tmp_path):
    assert built(tmp_path)["token_ttl_minutes"] == 20
