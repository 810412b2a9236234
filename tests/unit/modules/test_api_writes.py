"""What manifest and helm_release write through the load balancer: a lost request is made again, a refusal is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.salt_node import Node
from tests.unit.modules.member import MODULES, pillar

OBJECT = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
# helm 4.2.3 and kubectl 1.36.4 while HAProxy had no server behind it, and while etcd elected a leader.
LOST = 'Error: UPGRADE FAILED: Get "https://192.168.100.150:6443/api/v1/namespaces/x/secrets": EOF\n'
NO_LEADER = "Error from server: etcdserver: leader changed\n"
# The API server's answer (1.36.4) before MetalLB's controller serves its webhook: no request got lost here.
WEBHOOK = (
    "Error from server (InternalError): Internal error occurred: failed calling webhook "
    '"ipaddresspoolvalidationwebhook.metallb.io": failed to call webhook: Post '
    '"https://metallb-webhook-service.metallb-system.svc:443/validate?timeout=10s": dial tcp 10.1.2.3:443: connect: '
    "connection refused\n"
)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A control-plane node on which time passes only where a test says so."""
    node = Node(tmp_path, pillar("control_plane"), [*MODULES, "manifest", "helm_release"])
    for name in ("kube", "manifest"):
        monkeypatch.setattr(node.modules[name].time, "sleep", lambda _: None)
    return node


def fails_first(stderr: str, output: str = "") -> str:
    """The script of a tool that fails in its first call with these words."""
    again = "len(log.read_text().splitlines()) > 1"
    return f"{again} or (sys.stderr.write({stderr!r}), sys.exit(1))\nprint({output!r})"


def test_an_apply_that_got_lost_is_made_again(node: Node) -> None:
    node.tool("kubectl", fails_first(NO_LEADER, "configmap/a serverside-applied"))
    assert node.salt["manifest.apply"]([OBJECT]) == ["configmap/a serverside-applied"]
    first, second = node.calls("kubectl")
    assert first == second
    assert json.loads(first["stdin"])["items"] == [OBJECT]


def test_objects_are_looked_for_again(node: Node) -> None:
    node.tool("kubectl", fails_first(NO_LEADER, json.dumps({"kind": "List", "items": [OBJECT]})))
    assert node.salt["manifest.existing"]([OBJECT]) == {"ConfigMap a"}


def test_a_refused_apply_is_not_made_again(node: Node) -> None:
    node.tool("kubectl", "sys.stderr.write('Error from server (Forbidden): no'); sys.exit(1)")
    with pytest.raises(CommandExecutionError, match=r"kubectl apply: Error from server \(Forbidden\): no"):
        node.salt["manifest.apply"]([OBJECT])
    assert len(node.calls()) == 1


# MetalLB 0.15.3 just after its controller was started anew: begin and end as seen, the reason controller-runtime's.
STARTING = (
    'Error from server (Forbidden): admission webhook "l2advertisementvalidationwebhook.metallb.io" denied the '
    "request: the cache is not started, can not read objects\nfailed to get existing v1beta1.L2Advertisement objects\n"
)


@pytest.mark.parametrize("words", [WEBHOOK, STARTING])
def test_a_webhook_that_cannot_judge_yet_is_waited_for(node: Node, words: str) -> None:
    node.tool("kubectl", fails_first(words))
    node.salt["manifest.apply"]([OBJECT], webhook_deadline_s=60)
    assert len(node.calls()) == 2


def test_a_webhook_that_refuses_connections_is_waited_for_as_long_as_the_caller_says(node: Node) -> None:
    node.tool("kubectl", f"sys.stderr.write({WEBHOOK!r}); sys.exit(1)")
    with pytest.raises(CommandExecutionError, match="failed calling webhook"):
        node.salt["manifest.apply"]([OBJECT], webhook_deadline_s=-1)
    assert len(node.calls()) == 1


HELM = """
calls = [json.loads(line)["argv"][1] for line in log.read_text().splitlines() if "/helm" in line]
revision = {"name": "a", "version": "1.0.0", "appVersion": "1", "status": "STATUS", "revision": 4}
if sys.argv[1] == "upgrade" and calls.count("upgrade") == 1:
    sys.stderr.write(LOST)
    sys.exit(1)
if sys.argv[1] == "list":
    print(json.dumps([revision]))
if sys.argv[1:3] == ["get", "metadata"]:
    print(json.dumps(revision))
if sys.argv[1:3] == ["get", "values"]:
    print("{}")
"""


@pytest.mark.parametrize(("status", "dropped"), [("pending-upgrade", True), ("failed", False)])
def test_a_deploy_that_got_lost_is_made_again_after_what_it_left_pending_is_dropped(
    node: Node, status: str, dropped: bool
) -> None:
    node.tool("helm", f"LOST = {LOST!r}\n{HELM.replace('STATUS', status)}")
    node.tool("kubectl")
    node.salt["helm_release.deploy"]("a", "x", "/chart.tgz", {"b": 1})
    upgrades = [call for call in node.calls("helm") if call["argv"][1] == "upgrade"]
    assert [call["stdin"] for call in upgrades] == ['{"b": 1}'] * 2
    deletes = [call["argv"][1:4] for call in node.calls("kubectl")]
    assert deletes == ([["delete", "secret", "sh.helm.release.v1.a.v4"]] if dropped else [])


def test_a_deploy_that_helm_refuses_is_not_made_again(node: Node) -> None:
    node.tool("helm", "sys.stderr.write('Error: UPGRADE FAILED: no such chart'); sys.exit(1)")
    with pytest.raises(CommandExecutionError, match="helm upgrade a: Error: UPGRADE FAILED: no such chart"):
        node.salt["helm_release.deploy"]("a", "x", "/chart.tgz", {})
    assert len(node.calls("helm")) == 1


def test_a_removal_that_got_lost_is_made_again(node: Node) -> None:
    node.tool("helm", fails_first(LOST, 'release "a" uninstalled'))
    assert node.salt["helm_release.remove"]("a", "x") == 'release "a" uninstalled'
