"""helm_release.deployed and absent with the real helm, the real charts and a real API server."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import salt.utils.secret
from salt.exceptions import CommandExecutionError
from salt.utils.datastructures import HashableOrderedDict

from tests.functional.kubernetes.conftest import ApiServer, chart
from tests.salt_node import Node


def release(node: Node, name: str) -> dict[str, Any]:
    """The arguments of helm_release.deployed for a chart of the definition."""
    wanted = node.pillar["saltern"]["charts"][name]
    return {
        "name": wanted["release"],
        "namespace": wanted["namespace"],
        "chart": str(chart(name)),
        "version": wanted["version"],
        "values": wanted["values"],
    }


@pytest.fixture
def tiny(node: Node, tmp_path: Path) -> dict[str, Any]:
    """The arguments for a chart of one ConfigMap, whose release is not there."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: tiny, version: 1.2.3}")
    (tmp_path / "values.yaml").write_text("{name: tiny, word: none}")
    (tmp_path / "templates" / "map.yaml").write_text(
        'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "{{ .Values.name }}"}\ndata: {word: "{{ .Values.word }}"}\n'
    )
    if node.salt["helm_release.get"]("tiny", "default"):
        node.salt["helm_release.remove"]("tiny", "default")
    values = {"word": "salt", "nested": {"a": 1, "b": [1, 2]}}
    return {"name": "tiny", "namespace": "default", "chart": str(tmp_path), "version": "1.2.3", "values": values}


def word(api_server: ApiServer) -> str:
    """What the chart's ConfigMap holds."""
    return api_server.kubectl("get", "configmap", "tiny", "--output=jsonpath={.data.word}")


def test_test_mode_names_what_would_be_deployed_and_deploys_nothing(node: Node, tiny: dict[str, Any]) -> None:
    node.opts["test"] = True
    ret = node.state("helm_release").deployed(**tiny)
    assert ret["result"] is None
    assert ret["changes"] == {
        "version": {"old": None, "new": "1.2.3"},
        "status": {"old": None, "new": "deployed"},
        "values.nested.a": {"old": None, "new": 1},
        "values.nested.b": {"old": None, "new": [1, 2]},
        "values.word": {"old": None, "new": "salt"},
    }
    assert node.salt["helm_release.get"]("tiny", "default") is None


def test_a_release_is_deployed_once(node: Node, tiny: dict[str, Any], api_server: ApiServer) -> None:
    state = node.state("helm_release")
    first = state.deployed(**tiny)
    assert first["result"] is True, first["comment"]
    assert first["changes"]["status"] == {"old": None, "new": "deployed"}
    assert word(api_server) == "salt"
    second = state.deployed(**tiny)
    assert (second["result"], second["changes"]) == (True, {})
    assert node.salt["helm_release.get"]("tiny", "default")["revision"] == 1


def test_values_in_salts_own_mappings_are_taken(node: Node, tiny: dict[str, Any]) -> None:
    wrapped = salt.utils.secret.hide(HashableOrderedDict(tiny["values"]))
    for values in (wrapped, HashableOrderedDict(word="salt", nested=HashableOrderedDict(a=1, b=[1, 2]))):
        ret = node.state("helm_release").deployed(**(tiny | {"values": values}))
        assert ret["result"] is True, ret["comment"]


def test_a_value_changed_by_hand_is_shown_and_put_right(
    node: Node, tiny: dict[str, Any], api_server: ApiServer
) -> None:
    state = node.state("helm_release")
    state.deployed(**tiny)
    node.salt["helm_release.deploy"]("tiny", "default", tiny["chart"], {"word": "pepper", "nested": {"b": [1, 2]}})
    expected = {"values.nested.a": {"old": None, "new": 1}, "values.word": {"old": "pepper", "new": "salt"}}
    node.opts["test"] = True
    assert state.deployed(**tiny)["changes"] == expected
    assert word(api_server) == "pepper"
    node.opts["test"] = False
    ret = state.deployed(**tiny)
    assert (ret["result"], ret["changes"]) == (True, expected)
    assert word(api_server) == "salt"


def test_a_newer_chart_is_an_upgrade(node: Node, tiny: dict[str, Any]) -> None:
    state = node.state("helm_release")
    state.deployed(**tiny)
    Path(tiny["chart"], "Chart.yaml").write_text("{apiVersion: v2, name: tiny, version: 1.3.0}")
    ret = state.deployed(**(tiny | {"version": "1.3.0"}))
    assert (ret["result"], ret["changes"]) == (True, {"version": {"old": "1.2.3", "new": "1.3.0"}})


def test_a_release_that_a_killed_helm_left_pending_is_recovered(
    node: Node, tiny: dict[str, Any], api_server: ApiServer
) -> None:
    state = node.state("helm_release")
    state.deployed(**tiny)
    make_pending(api_server, "default", "sh.helm.release.v1.tiny.v1")
    assert node.salt["helm_release.get"]("tiny", "default")["status"] == "pending-install"
    ret = state.deployed(**tiny)
    assert ret["result"] is True, ret["comment"]
    assert ret["changes"] == {"status": {"old": "pending-install", "new": "deployed"}}
    assert state.deployed(**tiny)["changes"] == {}


def make_pending(api_server: ApiServer, namespace: str, secret: str) -> None:
    """Turn a stored revision into one whose helm was killed: the status in its record and in its label."""
    stored = json.loads(api_server.kubectl("-n", namespace, "get", "secret", secret, "-ojson"))
    record = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(stored["data"]["release"]))))
    record["info"]["status"] = "pending-install"
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(record).encode()))).decode()
    patch = {"metadata": {"labels": {"status": "pending-install"}}, "data": {"release": packed}}
    api_server.kubectl("-n", namespace, "patch", "secret", secret, "--patch-file=/dev/stdin", stdin=json.dumps(patch))


def test_a_release_that_failed_is_shown_and_recovered(node: Node, tiny: dict[str, Any]) -> None:
    state = node.state("helm_release")
    failed = state.deployed(**(tiny | {"values": {"name": "Not_A_Name"}}))
    assert failed["result"] is False
    assert "RFC 1123" in failed["comment"]
    assert failed["changes"]["status"] == {"old": None, "new": "failed"}
    ret = state.deployed(**tiny)
    assert ret["result"] is True, ret["comment"]
    assert ret["changes"]["status"] == {"old": "failed", "new": "deployed"}


def test_a_missing_chart_is_an_error_that_names_it(node: Node, tiny: dict[str, Any]) -> None:
    ret = node.state("helm_release").deployed(**(tiny | {"chart": "/nowhere/tiny.tgz"}))
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "/nowhere/tiny.tgz" in ret["comment"]


def test_another_version_than_the_charts_is_not_called_deployed(node: Node, tiny: dict[str, Any]) -> None:
    ret = node.state("helm_release").deployed(**(tiny | {"version": "9.9.9"}))
    assert ret["result"] is False
    assert "still differs in version" in ret["comment"]


def test_a_release_that_is_not_pending_is_not_dropped(node: Node, tiny: dict[str, Any]) -> None:
    node.state("helm_release").deployed(**tiny)
    with pytest.raises(CommandExecutionError, match="is not pending"):
        node.salt["helm_release.drop_pending"]("tiny", "default", 1)


def test_a_release_is_removed_once(node: Node, tiny: dict[str, Any], api_server: ApiServer) -> None:
    state = node.state("helm_release")
    state.deployed(**tiny)
    node.opts["test"] = True
    assert state.absent("tiny", "default")["result"] is None
    assert word(api_server) == "salt"
    node.opts["test"] = False
    assert state.absent("tiny", "default")["result"] is True
    assert "configmap/tiny" not in api_server.kubectl("get", "configmaps", "--output=name")
    assert state.absent("tiny", "default")["changes"] == {}


def test_metallb_is_accepted_with_the_values_of_the_definition(node: Node) -> None:
    wanted = release(node, "metallb")
    node.salt["manifest.apply"]([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": wanted["namespace"]}}])
    ret = node.state("helm_release").deployed(**wanted)
    assert ret["result"] is True, ret["comment"]
    assert node.state("helm_release").deployed(**wanted)["changes"] == {}


def test_cilium_is_accepted_with_the_values_of_the_definition(node: Node) -> None:
    wanted = release(node, "cilium")
    ret = node.state("helm_release").deployed(**wanted)
    assert ret["result"] is True, ret["comment"]
    assert node.state("helm_release").deployed(**wanted)["changes"] == {}
