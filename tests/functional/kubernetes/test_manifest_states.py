"""manifest.applied and absent against a real API server."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from tests.functional.kubernetes.conftest import ApiServer
from tests.salt_node import Node


def objects(name: str, word: str = "salt") -> list[dict[str, Any]]:
    """A namespace with a ConfigMap."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": name}, "data": {"word": word}},
    ]


def test_test_mode_says_what_would_be_made_and_makes_nothing(node: Node, api_server: ApiServer) -> None:
    node.opts["test"] = True
    ret = node.state("manifest").applied("Things", objects("one"))
    assert ret["result"] is None
    assert ret["changes"] == {
        "Namespace one": {"old": None, "new": "created"},
        "ConfigMap one/m": {"old": None, "new": "created"},
    }
    assert "one" not in api_server.kubectl("get", "namespaces")


def test_objects_are_made_once(node: Node, api_server: ApiServer) -> None:
    state = node.state("manifest")
    first = state.applied("Things", objects("two"))
    assert first["result"] is True
    assert set(first["changes"]) == {"Namespace two", "ConfigMap two/m"}
    assert api_server.kubectl("-n", "two", "get", "configmap", "m", "-o", "jsonpath={.data.word}") == "salt"
    second = state.applied("Things", objects("two"))
    assert (second["result"], second["changes"]) == (True, {})


def test_a_change_by_hand_is_shown_and_put_right(node: Node, api_server: ApiServer) -> None:
    state = node.state("manifest")
    state.applied("Things", objects("three"))
    api_server.kubectl("-n", "three", "patch", "configmap", "m", "-p", '{"data": {"word": "pepper"}}')
    expected = {"ConfigMap three/m": {"old": "word: pepper", "new": "word: salt"}}
    node.opts["test"] = True
    assert state.applied("Things", objects("three"))["changes"] == expected
    node.opts["test"] = False
    assert state.applied("Things", objects("three"))["changes"] == expected
    assert api_server.kubectl("-n", "three", "get", "configmap", "m", "-o", "jsonpath={.data.word}") == "salt"


def test_what_others_added_stays_and_is_no_difference(node: Node, api_server: ApiServer) -> None:
    state = node.state("manifest")
    state.applied("Things", objects("four"))
    api_server.kubectl("-n", "four", "patch", "configmap", "m", "-p", '{"data": {"other": "theirs"}}')
    assert state.applied("Things", objects("four"))["changes"] == {}


def test_a_kind_that_the_cluster_does_not_know_would_be_made_but_cannot(node: Node) -> None:
    pools = [
        {"apiVersion": "metallb.io/v9", "kind": "IPAddressPool", "metadata": {"name": "p", "namespace": "default"}}
    ]
    node.opts["test"] = True
    ret = node.state("manifest").applied("Pools", pools)
    assert ret["changes"] == {"IPAddressPool default/p": {"old": None, "new": "created"}}
    node.opts["test"] = False
    ret = node.state("manifest").applied("Pools", pools)
    assert ret["result"] is False
    assert ret["changes"] == {}
    assert 'no matches for kind "IPAddressPool"' in ret["comment"]


def test_objects_that_the_api_refuses_are_an_error_and_no_change(node: Node) -> None:
    bad = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "Not_A_Name"}}]
    ret = node.state("manifest").applied("Bad", bad)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "RFC 1123" in ret["comment"]


def test_objects_are_deleted_once(node: Node, api_server: ApiServer) -> None:
    state = node.state("manifest")
    maps = objects("default")[1:]
    state.applied("Things", maps)
    node.opts["test"] = True
    assert state.absent("Things", maps)["changes"] == {"ConfigMap default/m": {"old": "present", "new": None}}
    node.opts["test"] = False
    assert state.absent("Things", maps)["result"] is True
    assert "m " not in api_server.kubectl("-n", "default", "get", "configmaps")
    assert state.absent("Things", maps)["changes"] == {}


HOOK = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingWebhookConfiguration",
    "metadata": {"name": "absent"},
    "webhooks": [
        {
            "name": "absent.example.org",
            "clientConfig": {"url": "https://127.0.0.1:1/validate"},
            "rules": [
                {
                    "apiGroups": ["coordination.k8s.io"],
                    "apiVersions": ["v1"],
                    "operations": ["*"],
                    "resources": ["leases"],
                }
            ],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
    ],
}


def lease(holder: str) -> dict[str, Any]:
    """An object that the webhook would have to judge."""
    metadata = {"name": "judged", "namespace": "default"}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": {"holderIdentity": holder},
    }


@pytest.fixture
def hooked(node: Node, api_server: ApiServer) -> Iterator[Node]:
    """A node whose API server asks a webhook that nobody serves."""
    node.salt["manifest.apply"]([HOOK])
    try:
        with pytest.raises(CommandExecutionError, match="failed calling webhook"):
            for holder in range(1000):  # the API server takes a moment to see the webhook; until then it applies
                node.salt["manifest.apply"]([lease(str(holder))], 0)
        yield node
    finally:
        api_server.kubectl("delete", "validatingwebhookconfiguration", "absent", "--ignore-not-found")


def test_a_webhook_that_does_not_come_up_is_named(hooked: Node) -> None:
    ret = hooked.state("manifest").applied("Judged", [lease("late")], 0)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert 'failed calling webhook "absent.example.org"' in ret["comment"]


def test_a_webhook_that_comes_up_is_waited_for(
    hooked: Node, api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        api_server.kubectl("delete", "validatingwebhookconfiguration", "absent", "--ignore-not-found")

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=pause)
    monkeypatch.setattr(hooked.modules["manifest"], "time", clock)
    assert hooked.state("manifest").applied("Judged", [lease("in time")], 60)["result"] is True
    assert pauses


def test_no_api_server_is_an_error_that_says_so(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node.modules["kube"], "PATIENCE_S", 0)
    right = node.salt["sandbox.run"]
    node.salt["sandbox.run"] = lambda tool, args, **kwargs: right(
        tool, ["--server=https://127.0.0.1:1", *args], **kwargs
    )
    try:
        with pytest.raises(CommandExecutionError, match="refused"):
            node.salt["manifest.existing"](objects("five"))
    finally:
        node.salt["sandbox.run"] = right
