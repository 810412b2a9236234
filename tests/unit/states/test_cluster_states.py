"""States that wait for the cluster, the operator's kubeconfig, and the runtime's network."""

import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from tests.salt_node import Node

USER = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(os.getgid()).gr_name


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node whose home is a directory here."""
    (tmp_path / "home").mkdir()
    pillar = {"saltern": {"kubeadm": {"join": {"nodeRegistration": {"criSocket": "unix:///run/crio.sock"}}}}}
    return Node(tmp_path, pillar, ["sandbox", "account", "operator_kubeconfig", "original", "cni"])


@pytest.fixture
def kubeconfig(node: Node) -> Path:
    """Where the operator's kubeconfig goes, on a node that has an admin.conf."""
    node.file("etc", "kubernetes", "admin.conf", text="secret content")
    return node.root / "home" / ".kube" / "config"


def backups(node: Node) -> list[str]:
    """Where what was there before is kept."""
    return [str(node.root / "backup")]


def test_before_there_is_an_admin_conf_there_is_nothing_to_install(node: Node) -> None:
    path = node.root / "home" / ".kube" / "config"
    ret = node.state("kubeconfig").installed(str(path), USER, GROUP, backups(node))
    assert (ret["result"], ret["changes"]) == (True, {})
    assert not path.parent.exists()


def test_the_kubeconfig_is_installed_once_for_the_operator_alone(node: Node, kubeconfig: Path) -> None:
    state = node.state("kubeconfig")
    node.opts["test"] = True
    assert state.installed(str(kubeconfig), USER, GROUP, backups(node))["result"] is None
    assert not kubeconfig.parent.exists()
    node.opts["test"] = False
    first = state.installed(str(kubeconfig), USER, GROUP, backups(node))
    assert first["result"] is True, first["comment"]
    assert "secret content" not in repr(first)
    assert kubeconfig.read_text() == "secret content"
    assert kubeconfig.stat().st_mode & 0o7777 == 0o600
    assert kubeconfig.parent.stat().st_mode & 0o7777 == 0o700
    assert state.installed(str(kubeconfig), USER, GROUP, backups(node))["changes"] == {}


@pytest.mark.parametrize("drift", ["mode", "content", "directory_mode", "gone"])
def test_a_changed_kubeconfig_is_put_right_without_being_shown(node: Node, kubeconfig: Path, drift: str) -> None:
    state = node.state("kubeconfig")
    state.installed(str(kubeconfig), USER, GROUP, backups(node))
    drifts: dict[str, Callable[[], Any]] = {
        "mode": lambda: kubeconfig.chmod(0o644),
        "content": lambda: kubeconfig.write_text("other secret"),
        "directory_mode": lambda: kubeconfig.parent.chmod(0o755),
        "gone": kubeconfig.unlink,
    }
    drifts[drift]()
    ret = state.installed(str(kubeconfig), USER, GROUP, backups(node))
    assert ret["result"] is True
    assert ("content" if drift == "gone" else drift) in ret["changes"]
    if drift == "content":
        assert ret["changes"]["content"] == {"old": "another", "new": "this cluster's (not shown)"}
    assert "secret c" not in repr(ret)
    assert "other secret" not in repr(ret)
    assert state.installed(str(kubeconfig), USER, GROUP, backups(node))["changes"] == {}


def test_a_kubeconfig_that_is_a_link_is_replaced_and_its_target_untouched(node: Node, kubeconfig: Path) -> None:
    kubeconfig.parent.mkdir()
    target = node.root / "elsewhere"
    target.write_text("precious")
    kubeconfig.symlink_to(target)
    assert node.state("kubeconfig").installed(str(kubeconfig), USER, GROUP, backups(node))["result"] is True
    assert target.read_text() == "precious"
    assert not kubeconfig.is_symlink()


def test_an_operator_who_does_not_exist_is_named(node: Node, kubeconfig: Path) -> None:
    ret = node.state("kubeconfig").installed(str(kubeconfig), "no-such-operator", GROUP, backups(node))
    assert ret["result"] is False
    assert "no-such-operator" in ret["comment"]
    assert "state.apply os" in ret["comment"]


def test_the_kubeconfig_is_removed_once(node: Node, kubeconfig: Path) -> None:
    state = node.state("kubeconfig")
    state.installed(str(kubeconfig), USER, GROUP, backups(node))
    done = state.absent(str(kubeconfig), backups(node))
    assert done["changes"] == {str(kubeconfig): {"old": "the cluster's", "new": None}}
    assert not kubeconfig.exists()
    assert state.absent(str(kubeconfig), backups(node))["changes"] == {}


def test_the_operators_own_kubeconfig_of_before_comes_back(node: Node, kubeconfig: Path) -> None:
    state = node.state("kubeconfig")
    kubeconfig.parent.mkdir()
    kubeconfig.write_text("his own secret")
    kubeconfig.chmod(0o600)
    for content in ("secret content", "after a renewal"):
        node.file("etc", "kubernetes", "admin.conf", text=content)
        state.installed(str(kubeconfig), USER, GROUP, backups(node))
    assert (node.root / "backup/config.original").stat().st_mode & 0o7777 == 0o600
    node.opts["test"] = True
    preview = state.absent(str(kubeconfig), backups(node))
    assert preview["result"] is None and kubeconfig.read_text() == "after a renewal"
    node.opts["test"] = False
    done = state.absent(str(kubeconfig), backups(node))
    assert done["changes"] == preview["changes"] == {str(kubeconfig): {"old": "the cluster's", "new": "as before"}}
    assert kubeconfig.read_text() == "his own secret"
    assert state.absent(str(kubeconfig), backups(node))["changes"] == {}
    assert kubeconfig.read_text() == "his own secret"


def crictl(node: Node, ready: bool) -> None:
    """Let the runtime say whether its network is ready."""
    flag = node.root / "ready"
    flag.unlink(missing_ok=True)
    if ready:
        flag.touch()
    node.tool(
        "crictl",
        f"""
ready = os.path.exists({str(flag)!r})
print(json.dumps({{"status": {{"conditions": [{{"type": "NetworkReady", "status": ready, "message": "no CNI"}}]}}}}))
""",
    )
    target = node.sandbox / "usr" / "local" / "bin" / "crictl"
    target.parent.mkdir(parents=True, exist_ok=True)
    (node.sandbox / "bin" / "crictl").replace(target)


@pytest.fixture
def restarts(node: Node) -> list[str]:
    """The services that were restarted; a restart makes the network ready."""
    restarted: list[str] = []

    def restart(name: str) -> bool:
        restarted.append(name)
        (node.root / "ready").touch()
        return True

    node.salt["service.restart"] = restart
    return restarted


def test_a_runtime_with_its_network_is_left_alone(node: Node, restarts: list[str]) -> None:
    crictl(node, ready=True)
    ret = node.state("cni").loaded("cni")
    assert (ret["result"], ret["changes"], restarts) == (True, {}, [])


def test_a_runtime_that_missed_its_configuration_is_restarted_once(node: Node, restarts: list[str]) -> None:
    crictl(node, ready=False)
    node.file("etc", "cni", "net.d", "05-cilium.conflist")
    node.opts["test"] = True
    assert node.state("cni").loaded("cni")["result"] is None
    assert restarts == []
    node.opts["test"] = False
    ret = node.state("cni").loaded("cni", grace_s=0)
    assert ret["result"] is True, ret["comment"]
    assert restarts == ["crio", "kubelet"]
    assert node.state("cni").loaded("cni", grace_s=0)["changes"] == {}


def test_without_a_configuration_nothing_is_restarted(node: Node, restarts: list[str]) -> None:
    crictl(node, ready=False)
    ret = node.state("cni").loaded("cni", deadline_s=0)
    assert ret["result"] is False
    assert "no CNI configuration" in ret["comment"]
    assert restarts == []


def test_a_configuration_that_is_switched_off_does_not_count(node: Node) -> None:
    node.file("etc", "cni", "net.d", "11-crio-ipv4-bridge.conflist.disabled")
    node.file("etc", "cni", "net.d", "05-cilium.conflist")
    assert node.salt["cni.configurations"]() == ["05-cilium.conflist"]


@pytest.fixture
def waiting(node: Node) -> Node:
    """A node whose cluster has one workload that is not ready, and whose waits succeed."""
    node.salt |= {
        "kube.get": lambda *_args: {"kind": "Deployment"},
        "kube.rolled_out": lambda _workload: (False, "1 of 2 available"),
        "kube.wait_rollout": lambda *_args: "deployment x in n: ready",
    }
    return node


def test_a_wait_in_test_mode_only_says_so(waiting: Node) -> None:
    waiting.opts["test"] = True
    ret = waiting.state("kube").rolled_out("x", "deployment", "n")
    assert (ret["result"], ret["changes"]) == (None, {})
    assert ret["comment"] == "x: 1 of 2 available; would wait for it"


def test_a_wait_that_succeeds_is_no_change(waiting: Node) -> None:
    ret = waiting.state("kube").rolled_out("x", "deployment", "n")
    assert (ret["result"], ret["changes"]) == (True, {})


def test_what_is_ready_is_not_waited_for(waiting: Node) -> None:
    waiting.salt["kube.rolled_out"] = lambda _workload: (True, "2 of 2 available")
    del waiting.salt["kube.wait_rollout"]
    assert waiting.state("kube").rolled_out("x", "deployment", "n")["comment"] == "x: 2 of 2 available"


def test_a_wait_that_fails_says_why(waiting: Node) -> None:
    def give_up(*_args: Any) -> str:
        raise CommandExecutionError("waited 600 s for x: p on w: ImagePullBackOff")

    waiting.salt["kube.wait_rollout"] = give_up
    ret = waiting.state("kube").rolled_out("x", "deployment", "n")
    assert ret["result"] is False
    assert "ImagePullBackOff" in ret["comment"]


def test_a_namespace_without_pods_is_not_ready(node: Node) -> None:
    node.opts["test"] = True
    node.salt["kube.get"] = lambda *_args: []
    assert (
        node.state("kube").pods_ready("kube-system")["comment"] == "kube-system: 0 of 0 pods ready; would wait for it"
    )


def test_an_endpoint_that_is_not_ready_does_not_count(node: Node) -> None:
    node.opts["test"] = True
    slices = [{"endpoints": [{"conditions": {"ready": False}}]}, {"endpoints": None}]
    node.salt["kube.get"] = lambda *_args: slices
    assert node.state("kube").endpoint_ready("webhook", "n")["result"] is None
    slices[0]["endpoints"] = [{"conditions": {"ready": True}}]
    assert node.state("kube").endpoint_ready("webhook", "n")["comment"] == "webhook: 1 ready endpoints"


def test_the_address_of_a_service_is_told(node: Node) -> None:
    node.salt["kube.get"] = lambda *_args: {}
    node.salt["kube.load_balancer_address"] = lambda _service: "192.168.100.200"
    assert node.state("kube").load_balancer_ready("web", "v")["comment"] == "web: address 192.168.100.200"
