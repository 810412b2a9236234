"""manifest.differences on the output of kubectl 1.36.4 diff --server-side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.salt_node import Node

OBJECT = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "web", "name": "web"}}
TITLE = "Deployment web/web"
DIFF = """\
diff -u -N /tmp/LIVE-1/apps.v1.Deployment.web.web /tmp/MERGED-2/apps.v1.Deployment.web.web
--- /tmp/LIVE-1/apps.v1.Deployment.web.web
+++ /tmp/MERGED-2/apps.v1.Deployment.web.web
@@ -5,7 +5,7 @@
{lines}
"""
EDITED = DIFF.format(lines="-  replicas: 3\n+  replicas: 2")
# What the deployment controller wrote between kubectl's two reads of an object that is a moment old.
STATUS = DIFF.format(lines="+    lastUpdateTime: \"2026-11-21T01:05:07Z\"\n+    reason: NewReplicaSetCreated")


@pytest.fixture
def kubectl(tmp_path: Path) -> tuple[Node, list[str]]:
    """A node whose kubectl finds the object, and gives these diffs one after the other."""
    node, diffs = Node(tmp_path, {}, ["manifest"]), list[str]()

    def patiently(_tool: str, args: list[str], **_rest: Any) -> dict[str, Any]:
        if args[0] == "get":
            return {"retcode": 0, "stdout": json.dumps(OBJECT), "stderr": ""}
        text = diffs.pop(0)
        return {"retcode": 1 if text else 0, "stdout": text, "stderr": ""}

    node.salt["kube.patiently"] = patiently
    return node, diffs


def test_what_differs_twice_alike_differs(kubectl: tuple[Node, list[str]]) -> None:
    node, diffs = kubectl
    diffs += [EDITED, EDITED]
    assert node.salt["manifest.differences"]([OBJECT]) == {TITLE: {"old": "replicas: 3", "new": "replicas: 2"}}


def test_what_a_controller_writes_meanwhile_is_no_difference(kubectl: tuple[Node, list[str]]) -> None:
    node, diffs = kubectl
    diffs += [STATUS, ""]
    assert node.salt["manifest.differences"]([OBJECT]) == {}


def test_what_does_not_differ_is_asked_for_once(kubectl: tuple[Node, list[str]]) -> None:
    node, diffs = kubectl
    diffs += [""]
    assert node.salt["manifest.differences"]([OBJECT]) == {}
    assert diffs == []


def test_a_difference_beside_what_a_controller_writes_is_found_later(kubectl: tuple[Node, list[str]]) -> None:
    node, diffs = kubectl
    diffs += [STATUS, EDITED, EDITED]
    assert node.salt["manifest.differences"]([OBJECT]) == {TITLE: {"old": "replicas: 3", "new": "replicas: 2"}}
