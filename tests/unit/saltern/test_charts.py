"""Chart values and MetalLB's resources."""

from __future__ import annotations

from saltern import charts, verification
from tests.unit.saltern.definitions import shipped


def built(tmp_path, cluster=None):
    return charts.build(shipped(tmp_path, cluster))


def test_releases(tmp_path):
    found = {
        name: {key: value for key, value in chart.items() if isinstance(value, str)}
        for name, chart in built(tmp_path).items()
    }
    assert found == {
        "cilium": {
            "chart": "/opt/sandbox/charts/cilium-1.20.1.tgz",
            "release": "cilium",
            "namespace": "kube-system",
            "version": "1.20.1",
        },
        "metallb": {
            "chart": "/opt/sandbox/charts/metallb-0.15.3.tgz",
            "release": "metallb",
            "namespace": "metallb-system",
            "version": "0.15.3",
        },
    }


# Reference document 0's values, as facts list them.
DOCUMENT_VALUES = {
    "kubeProxyReplacement": True,
    "k8sServiceHost": "192.168.100.150",
    "k8sServicePort": 6443,
    "ipam": {"mode": "kubernetes"},
    "k8s": {"requireIPv4PodCIDR": True},
    "routingMode": "native",
    "autoDirectNodeRoutes": True,
    "ipv4NativeRoutingCIDR": "10.4.0.0/14",
    "loadBalancer": {"mode": "dsr", "dsrDispatch": "opt", "algorithm": "maglev", "acceleration": "disabled"},
    "nodePort": {"enabled": True},
    "hostPort": {"enabled": True},
    "ipMasqAgent": {"enabled": True, "config": {"nonMasqueradeCIDRs": []}},
    "bpf": {"masquerade": True, "lbExternalClusterIP": True, "preallocateMaps": True},
    "envoy": {"enabled": False},
    "l2announcements": {"enabled": False},
    "bgpControlPlane": {"enabled": False},
    "k8sClientRateLimit": {"qps": 100, "burst": 150},
    "daemon": {"runPath": "/opt/sandbox/var/run/cilium"},
    "cni": {"exclusive": True, "binPath": "/opt/sandbox/opt/cni/bin", "confPath": "/opt/sandbox/etc/cni/net.d"},
}


def test_ciliums_values_are_the_documents(tmp_path):
    values = built(tmp_path)["cilium"]["values"]
    assert {name: values[name] for name in DOCUMENT_VALUES} == DOCUMENT_VALUES
    assert values["hubble"]["relay"] == {"enabled": True}
    assert values["hubble"]["ui"] == {"enabled": False}


def test_a_small_cluster_has_one_operator(tmp_path):
    assert built(tmp_path)["cilium"]["values"]["operator"] == {"replicas": 2}
    gone = dict.fromkeys(["saw-k8s-m-02", "saw-k8s-m-03", "saw-k8s-w-02", "saw-k8s-w-03", "saw-k8s-w-04"])
    assert built(tmp_path / "two", {"nodes": gone})["cilium"]["values"]["operator"] == {"replicas": 1}


def test_the_definitions_values_go_over_the_derived_ones(tmp_path):
    own = {"image": {"useDigest": False}, "hubble": {"relay": {"enabled": False}}}
    values = built(tmp_path, {"cilium": {"values": own}})["cilium"]["values"]
    assert values["image"] == {"useDigest": False}
    assert values["hubble"]["relay"] == {"enabled": False}
    assert values["hubble"]["enabled"] is True


def test_values_of_one_cluster_do_not_leak_into_another(tmp_path):
    built(tmp_path, {"cilium": {"values": {"hubble": {"enabled": False}}}})
    assert built(tmp_path / "other")["cilium"]["values"]["hubble"]["enabled"] is True


def test_metallb_announces_by_layer_2_only(tmp_path):
    values = built(tmp_path)["metallb"]["values"]
    assert values["speaker"]["frr"] == {"enabled": False}
    assert values["frrk8s"] == {"enabled": False}


def test_one_pool_resource_a_pool_and_one_advertisement_for_all(tmp_path):
    pools = {"second": ["192.168.100.230-192.168.100.231", "192.168.100.240/30"]}
    manifests = built(tmp_path, {"metallb": {"pools": pools}})["metallb"]["manifests"]
    assert [(item["kind"], item["metadata"]["name"], item["spec"]) for item in manifests] == [
        ("IPAddressPool", "default", {"addresses": ["192.168.100.200-192.168.100.220"]}),
        (
            "IPAddressPool",
            "second",
            {"addresses": ["192.168.100.230-192.168.100.231", "192.168.100.240-192.168.100.243"]},
        ),
        ("L2Advertisement", "saw-k8s", {"ipAddressPools": ["default", "second"]}),
    ]
    assert {(item["apiVersion"], item["metadata"]["namespace"]) for item in manifests} == {
        ("metallb.io/v1beta1", "metallb-system")
    }


def verified(tmp_path, cluster=None):
    wanted = verification.build(shipped(tmp_path, cluster))
    namespace, deployment, service = wanted["manifests"]
    return wanted, namespace, deployment, service


def test_the_verifications_service_selects_its_own_pods(tmp_path):
    wanted, namespace, deployment, service = verified(tmp_path)
    assert (wanted["namespace"], wanted["service"], wanted["port"]) == ("saltern-verification", "web", 80)
    assert namespace["metadata"]["name"] == service["metadata"]["namespace"] == deployment["metadata"]["namespace"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["spec"]["type"] == "LoadBalancer"
    assert [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [(80, 8080)]


def test_the_verifications_pods_spread_over_nodes_and_need_no_privilege(tmp_path):
    *_, deployment, _ = verified(tmp_path, {"verification": {"replicas": 3, "image": "quay.io/mine/agnhost:1"}})
    assert deployment["spec"]["replicas"] == 3
    pod = deployment["spec"]["template"]["spec"]
    (spread,) = pod["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "DoNotSchedule")
    assert spread["labelSelector"]["matchLabels"] == deployment["spec"]["selector"]["matchLabels"]
    (container,) = pod["containers"]
    assert container["image"] == "quay.io/mine/agnhost:1"
    assert container["args"] == ["netexec", "--http-port=8080"]
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]
    assert container["readinessProbe"]["httpGet"]["port"] == "http"
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["securityContext"]["runAsNonRoot"] is True


def test_the_verification_can_be_off(tmp_path):
    assert verified(tmp_path, {"verification": {"enabled": False}})[0]["enabled"] is False
