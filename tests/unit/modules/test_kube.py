"""Facts of the cluster and waits: what is read from the API's answers, and what a failed wait says."""

import json
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from tests.unit.modules.member import Member

# etcdctl 3.6 "member list --write-out=json": one voting member, one that was added as a learner and has not started.
MEMBERS = """{"header":{"cluster_id":14841639068965178418,"member_id":10276657743932975437,"raft_term":2},"members":[
{"ID":10276657743932975437,"name":"saw-k8s-m-01","peerURLs":["https://192.168.100.151:2380"],"clientURLs":["https://x:2379"]},
{"ID":3,"peerURLs":["https://192.168.100.152:2380"],"isLearner":true}]}"""
# kubectl 1.36.4 against a port where nobody listens.
REFUSED = """\
E1120 21:04:30.393338   23577 memcache.go:265] "Unhandled Error" err="couldn't get current server API group list: ..."
The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?
"""


@pytest.fixture
def node(tmp_path: Path) -> Member:
    """A control-plane node."""
    return Member(tmp_path)


def test_log_lines_and_warnings_are_no_complaint(node: Member) -> None:
    assert node.salt["kube.complaint"]("Warning: v1 Endpoints is deprecated\n" + REFUSED) == (
        "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?"
    )
    assert node.salt["kube.complaint"]("") == "it failed without a word"


def test_an_object_that_is_not_there_is_none_and_no_answer_is_an_error(node: Member) -> None:
    assert node.salt["kube.get"]("node", "absent") is None
    assert node.salt["kube.get"]("nodes") == []
    node.tool("kubectl", f"sys.stderr.write({REFUSED!r}); sys.exit(1)")
    node.modules["kube"].PATIENCE_S = 0
    with pytest.raises(CommandExecutionError, match="kubectl get node absent: The connection to the server"):
        node.salt["kube.get"]("node", "absent")


# helm 4.2.3 and kubectl 1.36.4 while Cilium took over a control-plane node's network; kubectl at a wrong name.
LOST = 'Error: query: failed to query with labels: Get "https://192.168.100.150:6443/api/v1/secrets": EOF'
ANSWERED = 'Error from server (Forbidden): nodes is forbidden: User "x" cannot list resource "nodes"'


@pytest.mark.parametrize(("stderr", "tries"), [(LOST, 2), (REFUSED, 2), (ANSWERED, 1)])
def test_a_request_lost_on_the_way_is_made_again_and_an_answer_is_not(
    node: Member, monkeypatch: pytest.MonkeyPatch, stderr: str, tries: int
) -> None:
    monkeypatch.setattr(node.modules["kube"].time, "sleep", lambda _: None)
    again = f"len(log.read_text().splitlines()) > 1 or (sys.stderr.write({stderr!r}), sys.exit(1))"
    node.tool("kubectl", again)
    answer = node.salt["kube.patiently"]("kubectl", ["get", "nodes"])
    assert len(node.calls()) == tries
    assert bool(answer["retcode"]) == (tries == 1)


@pytest.mark.parametrize("kind", ["secret", "secrets", "Secret", "secrets.v1"])
def test_secrets_are_not_read(node: Member, kind: str) -> None:
    with pytest.raises(CommandExecutionError, match="job cache"):
        node.salt["kube.get"](kind)
    assert node.calls() == []


def test_kubectl_has_the_nodes_own_admin_conf(node: Member) -> None:
    node.salt["kube.get"]("nodes")
    assert node.calls("kubectl")[0]["kubeconfig"] == str(node.sandbox / "etc/kubernetes/admin.conf")


def test_a_missing_tool_says_how_to_install_it(node: Member) -> None:
    (node.sandbox / "bin" / "kubectl").unlink()
    with pytest.raises(CommandExecutionError, match=r"salt saw-k8s-m-01 state\.apply binaries"):
        node.salt["kube.get"]("nodes")


def test_patience_with_requests_that_get_lost_can_be_shortened(node: Member) -> None:
    node.tool("kubectl", "sys.exit('dial tcp 192.0.2.1:6443: connect: connection refused')")
    with pytest.raises(CommandExecutionError, match="connection refused"):
        node.salt["kube.get"]("nodes", patience_s=0)
    assert len(node.calls("kubectl")) == 1


def test_a_tool_that_hangs_is_killed_and_named(node: Member) -> None:
    node.tool("kubectl", "import time; time.sleep(600)")
    with pytest.raises(CommandExecutionError, match=r"kubectl get nodes did not end within 0\.2 s"):
        node.salt["kube.kubectl"](["get", "nodes"], timeout_s=0.2)


def test_what_matters_of_a_node(node: Member) -> None:
    found = node.salt["kube.node_facts"](
        {
            "metadata": {"name": "m", "labels": {"node-role.kubernetes.io/control-plane": "", "a": "b"}},
            "spec": {
                "unschedulable": True,
                "taints": [
                    {"key": "node.cilium.io/agent-not-ready", "value": "true", "effect": "NoExecute"},
                    {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"},
                ],
            },
            "status": {
                "conditions": [{"type": "Ready", "status": "False", "message": "cni config uninitialized"}],
                "addresses": [{"type": "Hostname", "address": "m"}, {"type": "InternalIP", "address": "192.0.2.7"}],
                "nodeInfo": {"kubeletVersion": "v1.36.4", "containerRuntimeVersion": "cri-o://1.36.3"},
            },
        }
    )
    assert found == {
        "ready": False,
        "reason": "cni config uninitialized",
        "roles": ["control-plane"],
        "address": "192.0.2.7",
        "version": "v1.36.4",
        "runtime": "cri-o://1.36.3",
        "unschedulable": True,
        "taints": ["node-role.kubernetes.io/control-plane:NoSchedule", "node.cilium.io/agent-not-ready=true:NoExecute"],
    }


def test_etcds_members(node: Member) -> None:
    node.tool("kubectl", f"print({MEMBERS!r})")
    learner, voter = node.salt["kube.etcd_members"]()
    assert (learner["name"], learner["id"], learner["learner"]) == ("", "3", True)
    assert (voter["name"], voter["id"], voter["learner"]) == ("saw-k8s-m-01", "8e9e05c52164694d", False)
    assert "etcd-saw-k8s-m-01" in node.calls("kubectl")[0]["argv"]


def pod(**status: Any) -> dict[str, Any]:
    """A pod on a node, with this status."""
    return {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"nodeName": "w"}, "status": status}


READY = [{"type": "Ready", "status": "True"}]
WAITING = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
CRASHED = {"reason": "CrashLoopBackOff"}
PENDING = [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        ({"phase": "Running", "conditions": READY}, None),
        ({"phase": "Succeeded"}, None),
        ({"phase": "Pending", "conditions": PENDING}, "p on w: not scheduled: 0/1 nodes are available"),
        (
            {"initContainerStatuses": [{"name": "config", "state": {"waiting": WAITING}}]},
            "p on w: config waits: ImagePullBackOff: Back-off pulling image",
        ),
        (
            {
                "initContainerStatuses": [{"name": "done", "state": {"terminated": {"exitCode": 0}}, "started": False}],
                "containerStatuses": [
                    {"name": "a", "state": {"waiting": CRASHED}, "lastState": {"terminated": {"exitCode": 1}}}
                ],
            },
            "p on w: a waits: CrashLoopBackOff: last exit code 1",
        ),
        (
            {"containerStatuses": [{"name": "a", "state": {"running": {}}, "ready": False, "started": True}]},
            "p on w: a runs but is not ready",
        ),
        (
            {"containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]},
            "p on w: a ended with exit code 137 (OOMKilled)",
        ),
        ({"phase": "Pending"}, "p on w: phase Pending"),
    ],
)
def test_why_a_pod_is_not_ready(node: Member, status: dict[str, Any], trouble: str | None) -> None:
    assert node.salt["kube.pod_trouble"](pod(**status)) == trouble


def daemonset(**status: int) -> dict[str, Any]:
    """A DaemonSet with this status."""
    return {"kind": "DaemonSet", "metadata": {"generation": 2}, "spec": {}, "status": status}


def deployment(**status: int) -> dict[str, Any]:
    """A Deployment of two replicas with this status."""
    return {"kind": "Deployment", "metadata": {"generation": 1}, "spec": {"replicas": 2}, "status": status}


@pytest.mark.parametrize(
    ("workload", "expected"),
    [
        (None, (False, "not there yet")),
        (deployment(), (False, "0 of 2 available")),
        (deployment(observedGeneration=1, updatedReplicas=2, availableReplicas=2), (True, "2 of 2 available")),
        (deployment(observedGeneration=1, updatedReplicas=1, availableReplicas=2), (False, "1 of 2 available")),
        (
            daemonset(observedGeneration=2, desiredNumberScheduled=7, updatedNumberScheduled=7, numberAvailable=6),
            (False, "6 of 7 available"),
        ),
        (
            daemonset(observedGeneration=1, desiredNumberScheduled=7, updatedNumberScheduled=7, numberAvailable=7),
            (False, "7 of 7 available"),
        ),
    ],
)
def test_whether_a_workload_is_rolled_out(
    node: Member, workload: dict[str, Any] | None, expected: tuple[bool, str]
) -> None:
    assert node.salt["kube.rolled_out"](workload) == expected


def test_a_wait_is_one_watching_kubectl(node: Member) -> None:
    assert node.salt["kube.wait_nodes_ready"](["a", "b"], 30) == "2 nodes Ready: ready"
    (call,) = node.calls("kubectl")
    assert call["argv"][1:] == ["wait", "--for=create", "--for=condition=Ready", "node/a", "node/b", "--timeout=30s"]


def test_a_wait_goes_on_when_its_watch_breaks(node: Member) -> None:
    broken = node.root / "broken"
    node.tool("kubectl", f"p = pathlib.Path({str(broken)!r})\nif not p.exists():\n    p.touch(); sys.exit(1)")
    assert node.salt["kube.wait_pods_ready"]("kube-system", 30) == "the pods of kube-system: ready"
    assert len(node.calls("kubectl")) == 2


def test_a_wait_that_fails_names_nodes_and_reasons(node: Member) -> None:
    known = {
        "items": [
            {
                "metadata": {"name": "a"},
                "status": {"conditions": [{"type": "Ready", "status": "False", "message": "no CNI"}]},
            }
        ]
    }
    node.tool("kubectl", f"print({json.dumps(known)!r}) if sys.argv[1] == 'get' else sys.exit(1)")
    with pytest.raises(CommandExecutionError, match=r"waited 0\.1 s for 2 nodes Ready: b: not registered; a: no CNI"):
        node.salt["kube.wait_nodes_ready"](["a", "b"], 0.1)


def test_a_rollout_that_fails_names_pods_reasons_and_the_last_warning(node: Member) -> None:
    pods = {"items": [pod(phase="Pending")]}
    events = {
        "items": [
            {"lastTimestamp": "2026-11-20T21:00:01Z", "reason": "FailedCreatePodSandBox", "message": "no plugin"},
            {"lastTimestamp": "2026-11-20T21:00:00Z", "reason": "Older", "message": "not this"},
        ]
    }
    workload = {"spec": {"selector": {"matchLabels": {"app": "x"}}}}
    answers = {"daemonset": workload, "pods": pods, "events": events}
    node.tool("kubectl", f"print(json.dumps({answers!r}[sys.argv[2]])) if sys.argv[1] == 'get' else sys.exit(1)")
    with pytest.raises(CommandExecutionError, match=r"p on w: phase Pending \(FailedCreatePodSandBox: no plugin\)$"):
        node.salt["kube.wait_rollout"]("daemonset", "cilium", "kube-system", 0.1)


def test_a_wait_without_an_api_says_that(node: Member) -> None:
    node.tool("kubectl", f"sys.stderr.write({REFUSED!r}); sys.exit(1)")
    with pytest.raises(CommandExecutionError, match=r"waited 0\.1 s for daemonset cilium.*refused"):
        node.salt["kube.wait_rollout"]("daemonset", "cilium", "kube-system", 0.1)
    assert {call["argv"][1] for call in node.calls("kubectl")} == {"rollout"}  # nobody else is asked, patiently


def test_a_wait_whose_explanation_fails_says_both(node: Member) -> None:
    node.tool("kubectl", "sys.stderr.write('no rights' if sys.argv[1] == 'get' else 'timed out'); sys.exit(1)")
    with pytest.raises(CommandExecutionError, match=r"cilium in kube-system: timed out \(.*no rights\)$"):
        node.salt["kube.wait_rollout"]("daemonset", "cilium", "kube-system", 0.1)


def test_the_address_of_a_service(node: Member) -> None:
    service = {"status": {"loadBalancer": {"ingress": [{"ip": "192.168.100.200"}]}}}
    node.tool("kubectl", f"print({json.dumps(service)!r}) if sys.argv[1] == 'get' else None")
    assert node.salt["kube.wait_load_balancer"]("web", "saltern-verification", 5) == "192.168.100.200"


@pytest.mark.parametrize(
    "service", [None, {}, {"status": {"loadBalancer": {}}}, {"status": {"loadBalancer": {"ingress": []}}}]
)
def test_a_service_without_an_address(node: Member, service: dict[str, Any] | None) -> None:
    assert node.salt["kube.load_balancer_address"](service) is None
