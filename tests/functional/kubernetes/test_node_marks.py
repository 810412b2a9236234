"""Labels and taints of nodes, mended in a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.kubernetes.conftest import ApiServer
from tests.salt_node import Node

SENTENCE = "The nodes have their labels and taints"
ROLE = "node-role.kubernetes.io/control-plane"
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
WANTED: dict[str, Any] = {
    "m": {"labels": {ROLE: "", EXCLUDED: ""}, "taints": [{"key": ROLE, "value": "", "effect": "NoSchedule"}]},
    "w": {"labels": {"disk": "ssd"}, "taints": [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]},
    "not-joined": {"labels": {"disk": "ssd"}, "taints": []},
}


class Nodes:
    """The Node objects m, w and x of the API server, and the states of the node that looks after them."""

    def __init__(self, server: ApiServer, node: Node) -> None:
        self.server, self.node = server, node
        node.modules["node_marks"] = module = node._load("_modules", "node_marks")
        node.salt |= {f"node_marks.{word}": getattr(module, word) for word in ("differences", "settle", "of_roles")}
        for name in ("m", "w", "x"):
            node_object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
            self.kubectl("create", "--filename=-", stdin=json.dumps(node_object))
        self.apply(WANTED)

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        return self.server.kubectl(*args, stdin=stdin)

    def apply(self, wanted: dict[str, Any], state: str = "as_defined") -> dict[str, Any]:
        """Preview, apply, apply again: the preview tells what is done, the second run finds nothing."""
        function = getattr(self.node.state("node_marks"), state)
        self.node.opts["test"] = True
        preview = getattr(self.node.state("node_marks"), state)(SENTENCE, wanted)
        self.node.opts["test"] = False
        done: dict[str, Any] = function(SENTENCE, wanted)
        assert done["result"] is True, done
        assert (preview["result"], preview["changes"]) == (None if done["changes"] else True, done["changes"])
        again = function(SENTENCE, wanted)
        assert (again["result"], again["changes"]) == (True, {}), again
        return dict(done["changes"])

    def labels(self, name: str) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.kubectl("get", "node", name, "--output=json"))["metadata"]["labels"]
        return found

    def taints(self, name: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(self.kubectl("get", "node", name, "--output=json"))["spec"]["taints"]
        return found


@pytest.fixture
def nodes(api_server: ApiServer, node: Node) -> Iterator[Nodes]:
    made = Nodes(api_server, node)
    yield made
    made.kubectl("delete", "node", "m", "w", "x")


def test_a_label_changed_removed_or_added_by_hand_is_as_defined_again(nodes: Nodes) -> None:
    nodes.kubectl("label", "node", "w", "disk=hdd", "mine=kept", "--overwrite")
    nodes.kubectl("label", "node", "m", f"{ROLE}-")
    nodes.kubectl("label", "node", "x", f"{ROLE}=", "disk=ssd")
    assert nodes.apply(WANTED) == {
        "w": {"label disk": {"old": "hdd", "new": "ssd"}},
        "m": {f"label {ROLE}": {"old": None, "new": ""}},
        "x": {"label disk": {"old": "ssd", "new": None}, f"label {ROLE}": {"old": "", "new": None}},
    }
    assert nodes.labels("w")["mine"] == "kept"


def test_a_taint_changed_removed_or_added_by_hand_is_as_defined_again(nodes: Nodes) -> None:
    nodes.kubectl("taint", "node", "m", f"{ROLE}:NoSchedule-")
    nodes.kubectl("taint", "node", "w", "dedicated=web:NoSchedule", "--overwrite")
    nodes.kubectl("taint", "node", "x", f"{ROLE}:NoSchedule", "maintenance=today:NoExecute")
    assert nodes.apply(WANTED) == {
        "m": {f"taint {ROLE}:NoSchedule": {"old": None, "new": ""}},
        "w": {"taint dedicated:NoSchedule": {"old": "web", "new": "db"}},
        "x": {f"taint {ROLE}:NoSchedule": {"old": "", "new": None}},
    }
    assert "maintenance" in {taint["key"] for taint in nodes.taints("x")}


def test_a_cordon_is_the_operators(nodes: Nodes) -> None:
    nodes.kubectl("cordon", "w")
    assert nodes.apply(WANTED) == {}
    nodes.kubectl("label", "node", "w", "disk-")
    nodes.apply(WANTED)
    assert json.loads(nodes.kubectl("get", "node", "w", "--output=json"))["spec"]["unschedulable"] is True


def test_an_exclusion_from_load_balancers_is_whose_node_it_is(nodes: Nodes) -> None:
    """A worker's is of a drain, or an operator's; a control-plane node's is of its role."""
    nodes.kubectl("label", "node", "w", f"{EXCLUDED}=")
    nodes.kubectl("label", "node", "m", f"{EXCLUDED}-")
    assert nodes.apply(WANTED) == {"m": {f"label {EXCLUDED}": {"old": None, "new": ""}}}
    assert EXCLUDED in nodes.labels("w")


def test_an_exclusion_of_a_row_that_says_it_no_more_goes(nodes: Nodes) -> None:
    row = {"labels": {"disk": "ssd", EXCLUDED: ""}, "taints": WANTED["w"]["taints"]}
    assert list(nodes.apply(WANTED | {"w": row})) == ["w"]
    assert nodes.apply(WANTED) == {"w": {f"label {EXCLUDED}": {"old": "", "new": None}}}


def test_what_the_table_no_longer_says_goes(nodes: Nodes) -> None:
    less = {"m": WANTED["m"]}
    assert nodes.apply(less) == {
        "w": {"label disk": {"old": "ssd", "new": None}, "taint dedicated:NoSchedule": {"old": "db", "new": None}}
    }


def test_without_the_table_the_roles_stay(nodes: Nodes) -> None:
    assert list(nodes.apply(WANTED, "absent")) == ["w"]
    assert ROLE in nodes.labels("m")
