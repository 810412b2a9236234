"""A node on its way out, in a real API server: cordoned, excluded from load balancers, and as before again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.kubernetes.conftest import ApiServer
from tests.salt_node import Node

LEAVING, STAYING = "w1", "w2"
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"


class Workers:
    """Two workers, one of which is Ready and announces what the other does not; the node that is asked to drain."""

    def __init__(self, server: ApiServer, node: Node) -> None:
        self.server, self.node = server, node
        self.module = node.modules["kube_node"] = node._load("_modules", "kube_node")
        for name in (LEAVING, STAYING):
            worker = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
            self.kubectl("create", "--filename=-", stdin=json.dumps(worker))
        # The API server marks a new Node as not ready; no controller manager is here to take that back.
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True", "message": "ready"}]}}
        self.kubectl("patch", "node", STAYING, "--subresource=status", "--type=merge", f"--patch={json.dumps(ready)}")

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        return self.server.kubectl(*args, stdin=stdin)

    def facts(self) -> dict[str, Any]:
        """What a drain may change of the node that leaves."""
        found = json.loads(self.kubectl("get", "node", LEAVING, "--output=json"))
        ours = [key for key in found["metadata"].get("annotations", {}) if key.startswith("saltern/")]
        excluded = EXCLUDED in found["metadata"].get("labels", {})
        return {"cordoned": bool(found["spec"].get("unschedulable")), "excluded": excluded, "marks": sorted(ours)}


@pytest.fixture
def workers(api_server: ApiServer, node: Node) -> Iterator[Workers]:
    made = Workers(api_server, node)
    yield made
    made.kubectl("delete", "node", LEAVING, STAYING)


def test_a_node_leaves_and_is_as_before_again(workers: Workers) -> None:
    before = workers.facts()
    assert workers.module.cordon([LEAVING]) == {LEAVING: "cordoned"}
    assert workers.facts() == {
        "cordoned": True, "excluded": True, "marks": ["saltern/cordoned-by", "saltern/excluded-by"]
    }  # fmt: skip
    assert workers.module.cordon([LEAVING]) == {LEAVING: "is cordoned already"}
    assert workers.module.release([LEAVING]) == [LEAVING]
    assert workers.facts() == before == {"cordoned": False, "excluded": False, "marks": []}


def test_what_an_operator_did_before_stays(workers: Workers) -> None:
    workers.kubectl("label", "node", LEAVING, f"{EXCLUDED}=mine")
    workers.kubectl("cordon", LEAVING)
    before = workers.facts()
    workers.module.cordon([LEAVING])
    assert workers.module.release([LEAVING]) == []
    assert workers.facts() == before == {"cordoned": True, "excluded": True, "marks": []}


def test_the_last_that_announces_goes_on_to(workers: Workers) -> None:
    workers.module.cordon([LEAVING, STAYING])
    assert workers.facts() == {"cordoned": True, "excluded": False, "marks": ["saltern/cordoned-by"]}
