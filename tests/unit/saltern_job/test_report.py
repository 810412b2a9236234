"""What an operator reads."""

from __future__ import annotations

from saltern import report
from saltern.steps import Call, Step
from tests.unit.saltern.definitions import shipped

NODES = {
    name: {"ready": True, "reason": "", "version": "v1.36.4"}
    for name in ("saw-k8s-m-01", "saw-k8s-m-02", "saw-k8s-m-03", *(f"saw-k8s-w-0{n}" for n in range(1, 5)))
}
RUN = {"result": "succeeded", "started": "2026-01-31T12:00:00Z", "seconds": 215.4,
       "stages": [{"title": "Nodes are prepared", "seconds": 31.25}]}  # fmt: skip


def test_the_summary_has_nodes_versions_endpoint_times_and_what_to_type(tmp_path):
    text = report.summary(
        shipped(tmp_path, cluster={"artefacts": {"disabled": ["cilium-cli", "etcdctl", "k9s"]}}), NODES, RUN
    )
    assert "saw-k8s: Kubernetes 1.36.4, API at https://192.168.100.150:6443" in text
    assert "  saw-k8s-ha-01  load_balancer  192.168.100.150  -      -" in text
    assert "  saw-k8s-w-04   worker         192.168.100.157  yes    v1.36.4" in text
    assert "crio 1.36.3" in text and "k9s 0." not in text
    assert "succeeded, 2026-01-31T12:00:00Z, 3:35 minutes" in text
    assert "Nodes are prepared  31.2" in text
    assert "etcdctl (artefacts.disabled), k9s (artefacts.disabled)" in text
    assert "salt-run cluster.status" in text


def test_a_node_that_is_not_registered_is_shown_so(tmp_path):
    text = report.summary(shipped(tmp_path), {}, None)
    assert "saw-k8s-w-04   worker         192.168.100.157  no     not registered" in text
    assert "Last run" not in text


def test_a_plan_as_text_and_as_data():
    steps = [Step("a", "kubeadm init", ("m1",), Call("x"), stage="initialised", reason="none yet"),
             Step("b", "Join", ("m2", "m3"), Call("x"), after=("a",), stage="joined")]  # fmt: skip
    assert report.plan(steps).splitlines()[1:] == [
        "  initialised  kubeadm init  m1      -      none yet",
        "  joined       Join          m2, m3  a      -",
    ]
    assert report.plan_data(steps)[1] == {
        "stage": "joined", "step": "Join", "nodes": ["m2", "m3"], "after": ["a"], "why": "",
    }  # fmt: skip


def test_a_service_that_is_switched_off_is_named(tmp_path):
    off = report.switched_off(shipped(tmp_path, cluster={"verification": {"enabled": False}}))
    assert "the test service (verification.enabled)" in off


RECORDED = {
    "jid": "20260131120000123456", "job": "orchestrate.cluster", "user": "mia", "started": "2026-01-31T12:00:00Z",
    "ended": "2026-01-31T12:02:05Z", "seconds": 125.2, "result": "failed", "versions": {"kubelet": "1.36.4"},
    "stages": [
        {"title": "All minions answer", "started_s": 0.5, "seconds": 4.0, "result": "succeeded", "comment": "",
         "changed": {"m1": ["created"]}, "steps": []},
        {"title": "Nodes are prepared", "started_s": 65.0, "seconds": 31.25, "result": "failed", "comment": "",
         "changed": {}, "steps": [
             {"key": "w", "title": "Preparation of workers", "started_s": 66.0, "seconds": 30.0,
              "nodes": {"w1": {"seconds": 12.0, "changed": ["Swap is off"]}, "w2": {"seconds": 29.0, "changed": []}}}]},
    ],
    "problems": [{"node": "w2", "step": "Preparation", "cause": "no disk", "remedy": "make room", "state_id": "A",
                  "of_a_later_version": 1}],
}  # fmt: skip


def test_a_recorded_run_as_text():
    assert report.run(RECORDED).splitlines() == [
        "Run 20260131120000123456: orchestrate.cluster by mia, 2026-01-31T12:00:00Z",
        "failed after 2:05 minutes; 2 changes on 2 nodes",
        "",
        "Versions: kubelet 1.36.4",
        "",
        "AT    SECONDS  STAGE OR STEP             RESULT     NODES",
        "0:00  4.0      All minions answer        succeeded  m1",
        "1:05  31.2     Nodes are prepared        failed",
        "1:06  30.0       Preparation of workers             2, slowest w2",
        "",
        "Changes",
        "  m1: created",
        "  w1: Swap is off",
        "",
        "Problems",
        '  w2: Preparation: "A": no disk',
        "    next: make room",
    ]


def test_a_run_that_was_killed_in_its_first_stage():
    killed = {"jid": "1", "job": "j", "started": "2026-01-31T12:00:00Z", "result": "interrupted", "stages": [],
              "last_sign": "2026-01-31T12:00:01Z", "problems": []}  # fmt: skip
    assert report.run(killed).splitlines() == [
        "Run 1: j by somebody, 2026-01-31T12:00:00Z",
        "interrupted, last sign of it 2026-01-31T12:00:01Z; nothing changed",
    ]


def test_the_history_as_data_and_as_text():
    rows = [report.history_row(RECORDED), report.history_row({**RECORDED, "jid": "1", "stages": [], "seconds": None})]
    assert rows[0] == {
        "id": "20260131120000123456", "job": "orchestrate.cluster", "who": "mia", "when": "2026-01-31T12:00:00Z",
        "seconds": 125.2, "result": "failed", "changed_nodes": 2,
    }  # fmt: skip
    assert report.history(rows).splitlines() == [
        "RUN                   JOB                  WHO  WHEN                  DURATION  RESULT  CHANGED NODES",
        "20260131120000123456  orchestrate.cluster  mia  2026-01-31T12:00:00Z  2:05      failed  2",
        "1                     orchestrate.cluster  mia  2026-01-31T12:00:00Z  ?         failed  0",
    ]
    assert report.history([]) == "no run is recorded yet"
