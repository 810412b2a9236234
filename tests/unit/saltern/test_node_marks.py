"""Labels and taints of the nodes in the pillar."""

from __future__ import annotations

import pytest

from saltern import node_marks
from tests.unit.saltern.definitions import report, shipped

LABEL = "node-role.kubernetes.io/control-plane"
OUT_OF_BALANCE = "node.kubernetes.io/exclude-from-external-load-balancers"


def rows(**keys: object) -> dict[str, object]:
    return {"nodes": {"saw-k8s-w-01": keys}}


def test_roles_and_rows(tmp_path):
    row = rows(labels={"example.com/disk": "ssd", "zone": ""}, taints=["dedicated=db:NoSchedule", "slow:NoExecute"])
    marks = node_marks.build(shipped(tmp_path, row))
    assert list(marks)[:2] == ["saw-k8s-m-01", "saw-k8s-m-02"]
    assert marks["saw-k8s-m-01"] == {
        "labels": {LABEL: "", OUT_OF_BALANCE: ""},
        "taints": [{"key": LABEL, "value": "", "effect": "NoSchedule"}],
    }
    assert marks["saw-k8s-w-01"] == {
        "labels": {"example.com/disk": "ssd", "zone": ""},
        "taints": [
            {"key": "dedicated", "value": "db", "effect": "NoSchedule"},
            {"key": "slow", "value": "", "effect": "NoExecute"},
        ],
    }
    assert set(marks) == {"saw-k8s-m-01", "saw-k8s-m-02", "saw-k8s-m-03", "saw-k8s-w-01"}


@pytest.mark.parametrize(
    ("row", "key", "rule"),
    [
        ({"labels": {"bad key": "x"}}, "labels.bad key", "not a label's key"),
        ({"labels": {"a": "no spaces"}}, "labels.a", "not a label's value"),
        ({"taints": ["dedicated=db"]}, "taints", "not a taint: KEY=VALUE:EFFECT"),
        ({"taints": ["dedicated=db:Never"]}, "taints", "not a taint: KEY=VALUE:EFFECT"),
    ],
)
def test_what_kubernetes_would_refuse_is_found_before(tmp_path, row, key, rule):
    findings = [str(finding) for finding in report(tmp_path, rows(**row)).errors]
    assert len(findings) == 1
    assert f"nodes.saw-k8s-w-01.{key}" in findings[0]
    assert rule in findings[0]
