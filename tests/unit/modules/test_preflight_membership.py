"""State of clusters on a machine, and who holds the ports: real files, the pillar of the definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saltern import node_pillar
from tests.salt_node import Node
from tests.unit.modules.member import CLUSTER, kubeconfig

MODULES = ["preflight", "preflight_membership", "kubeadm_facts", "bind_mount", "sandbox", "ports"]


def node(root: Path, name: str = "saw-k8s-m-01", **held: str) -> Node:
    """A node of the table that is no member; ``held``: port6443="nginx (PID 7)"."""
    made = Node(root / "node", node_pillar.build(CLUSTER, name), MODULES, minion_id=name)
    holders = {int(port.removeprefix("port")): holder for port, holder in held.items()}
    made.salt["ports.holders"] = lambda ports: {port: holders[port] for port in sorted(holders) if port in ports}
    return made


def put(root: Path, path: str, text: str = "") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def codes(found: list[dict[str, str]]) -> list[str]:
    return [finding["code"] for finding in found]


# -- begun


def test_a_fresh_node_has_not_begun(tmp_path):
    assert node(tmp_path).salt["preflight_membership.begun"]("control_plane") is False


@pytest.mark.parametrize("path", ["provisioner/kubeadm-unfinished.json", "kubernetes/kubelet.conf"])
def test_a_node_on_which_an_init_or_join_has_begun(tmp_path, path):
    made = node(tmp_path)
    text = '{"verb": "join"}' if path.endswith("json") else kubeconfig("https://192.168.100.150:6443")
    made.file("etc", *path.split("/"), text=text)
    assert made.salt["preflight_membership.begun"]("control_plane") is True


def test_a_load_balancer_never_begins(tmp_path):
    assert node(tmp_path, "saw-k8s-ha-01").salt["preflight_membership.begun"]("load_balancer") is False


# -- ports


def ports(made: Node, role: str = "control_plane", begun: bool = False) -> list[dict[str, Any]]:
    return made.salt["preflight_membership.ports"](role, begun)


def test_a_port_that_another_program_holds(tmp_path):
    (found,) = ports(node(tmp_path, port6443="nginx (PID 7)"))
    assert found["code"] == "port-taken"
    assert found["what"] == "port 6443, which kube-apiserver needs, is taken by nginx (PID 7)"
    assert "on saw-k8s-m-01:" in found["remedy"] and found["where"] == "TCP port 6443"


def test_a_members_own_programs_hold_its_ports(tmp_path):
    own = {"port6443": "kube-apiserver (PID 7)", "port2380": "etcd (PID 8)", "port10257": "kube-controller (PID 9)"}
    assert ports(node(tmp_path, **own), begun=True) == []


def test_a_strange_program_on_a_members_port(tmp_path):
    """The kubelet of a member is stopped, and somebody took its port: the kubelet will not start."""
    assert codes(ports(node(tmp_path, port10250="python3 (PID 7)"), begun=True)) == ["port-taken"]


def test_kubernetes_programs_on_a_node_that_is_no_member(tmp_path):
    assert codes(ports(node(tmp_path, port6443="kube-apiserver (PID 7)"))) == ["port-taken"]


def test_a_worker_needs_no_port_of_the_control_plane(tmp_path):
    made = node(tmp_path, "saw-k8s-w-01", port6443="nginx (PID 7)", port10250="nginx (PID 7)")
    (found,) = ports(made, "worker")
    assert found["where"] == "TCP port 10250"


def test_the_api_servers_port_is_the_definitions(tmp_path):
    made = node(tmp_path, port6443="nginx (PID 7)", port7443="nginx (PID 7)")
    made.pillar["saltern"]["kubeadm"]["join"]["controlPlane"]["localAPIEndpoint"]["bindPort"] = 7443
    assert [found["where"] for found in ports(made)] == ["TCP port 7443"]


@pytest.mark.parametrize(("holder", "found"), [("haproxy (PID 7)", []), ("nginx (PID 7)", ["port-taken"])])
def test_a_load_balancers_port(tmp_path, holder, found):
    made = node(tmp_path, "saw-k8s-ha-01", port6443=holder)
    assert codes(ports(made, "load_balancer")) == found


def test_the_statistics_of_haproxy_need_a_port_too(tmp_path):
    made = node(tmp_path, "saw-k8s-ha-01", port8404="nginx (PID 7)")
    assert codes(ports(made, "load_balancer")) == ["port-taken"]
    made.pillar["saltern"]["haproxy"]["stats"] = None
    assert ports(made, "load_balancer") == []


def test_what_keepalived_asks_needs_a_port_too(tmp_path):
    made = node(tmp_path, "saw-k8s-ha-01", port8405="nginx (PID 7)")
    assert ports(made, "load_balancer") == []
    made.pillar["saltern"]["haproxy"]["alive"] = "127.0.0.1:8405"
    assert codes(ports(made, "load_balancer")) == ["port-taken"]


def test_names_are_as_the_kernel_cuts_them(tmp_path):
    """/proc/PID/comm holds 15 characters."""
    programs = set(node(tmp_path).salt["preflight_membership.listeners"]("control_plane").values())
    assert programs and max(map(len, programs)) <= 15


# -- another cluster


def leftovers(made: Node, root: Path) -> list[dict[str, Any]]:
    return made.salt["preflight_membership.leftovers"](root)


def test_a_clean_machine(tmp_path):
    assert leftovers(node(tmp_path), tmp_path) == []


def test_empty_directories_of_a_package_are_no_cluster(tmp_path):
    (tmp_path / "etc/kubernetes").mkdir(parents=True)
    assert leftovers(node(tmp_path), tmp_path) == []


def test_another_clusters_etc_kubernetes(tmp_path):
    put(tmp_path, "etc/kubernetes/admin.conf", kubeconfig("https://10.9.9.9:6443"))
    put(tmp_path, "etc/kubernetes/pki/ca.crt")
    put(tmp_path, "var/lib/kubelet/config.yaml")
    (tmp_path / "var/lib/etcd/member").mkdir(parents=True)
    (found,) = leftovers(node(tmp_path), tmp_path)
    assert found["code"] == "foreign-cluster"
    assert found["what"] == (
        "state of another cluster at https://10.9.9.9:6443: /etc/kubernetes (admin.conf, pki), "
        "/var/lib/kubelet (config.yaml), /var/lib/etcd/member"
    )
    assert "on saw-k8s-m-01: kubeadm reset -f;" in found["remedy"]
    assert "move away what is left: /etc/kubernetes /var/lib/kubelet /var/lib/etcd/member" in found["remedy"]


def test_a_kubeconfig_that_cannot_be_read(tmp_path):
    put(tmp_path, "etc/kubernetes/kubelet.conf", "clusters: {")
    (found,) = leftovers(node(tmp_path), tmp_path)
    assert found["what"] == "state of another cluster: /etc/kubernetes (kubelet.conf)"


def test_another_distribution_of_kubernetes(tmp_path):
    put(tmp_path, "etc/rancher/k3s/k3s.yaml")
    (found,) = leftovers(node(tmp_path), tmp_path)
    assert "k3s-uninstall.sh" in found["remedy"] and "/etc/rancher/k3s" in found["what"]


def test_what_is_mounted_from_the_sandbox_is_our_own(tmp_path):
    put(tmp_path, "etc/kubernetes/admin.conf")
    made = node(tmp_path)
    made.salt["bind_mount.mounted"] = lambda source, path: "source"
    assert leftovers(made, tmp_path) == []


def findings(made: Node, role: str = "control_plane", begun: bool = False) -> list[dict[str, Any]]:
    return made.salt["preflight_membership.findings"](role, begun)


def test_another_cluster_and_its_programs_are_one_finding(tmp_path):
    made = node(tmp_path, port6443="kube-apiserver (PID 7)", port2379="nginx (PID 8)")
    vars(made.modules["preflight_membership"])["leftovers"] = lambda: [{"code": "foreign-cluster"}]
    assert codes(findings(made)) == ["foreign-cluster", "port-taken"]


@pytest.mark.parametrize(("role", "begun"), [("load_balancer", False), ("worker", True)])
def test_who_is_not_searched_for_another_cluster(tmp_path, role, begun):
    made = node(tmp_path, "saw-k8s-ha-01" if role == "load_balancer" else "saw-k8s-w-01")
    vars(made.modules["preflight_membership"])["leftovers"] = lambda: pytest.fail("must not be asked")
    assert findings(made, role, begun) == []
