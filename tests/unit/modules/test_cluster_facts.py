"""The cluster as kubectl and Helm tell of it: what real ones printed, through the module's own calls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.unit.modules.member import Member

CAPTURED = Path(__file__).parent / "captured"
OBJECTS = CAPTURED / "kubectl-1.36.4-nodes-pods.json"
RELEASES = CAPTURED / "helm-4.2.3-list.json"


@pytest.fixture
def node(tmp_path):
    node = Member(tmp_path, extra=["cluster_facts"])
    node.tool("kubectl", f"print(pathlib.Path({str(OBJECTS)!r}).read_text())")
    node.tool("helm", f"print(pathlib.Path({str(RELEASES)!r}).read_text())")
    node.salt["cluster_facts.endpoint_fault"] = lambda: ""
    vars(node.modules["cluster_facts"])["endpoint_fault"] = lambda: ""
    return node


def test_the_cluster_in_two_calls(node):
    told = node.salt["cluster_facts.facts"]()
    assert [(name, seen["ready"], seen["version"], seen["runtime"]) for name, seen in told["nodes"].items()] == [
        ("saw-k8s-m-01", True, "v1.36.4", "cri-o://1.36.3"),
        ("saw-k8s-w-01", True, "v1.36.4", "cri-o://1.36.3"),
    ]
    assert told["components"] == {"saw-k8s-m-01": {"kube-apiserver": "1.36.4", "kube-scheduler": "1.36.4"}}
    assert told["pods"]["total"] == 4
    assert told["charts"][0] == {
        "name": "cilium", "namespace": "kube-system", "status": "deployed", "chart": "cilium", "version": "1.20.1",
    }  # fmt: skip
    assert told["endpoint"] == ""
    assert len(node.calls()) == 2


def test_the_nodes_own_api_server_is_asked_not_the_load_balancer(node):
    node.salt["cluster_facts.facts"]()
    (kubectl,), (helm,) = node.calls("kubectl"), node.calls("helm")
    assert "--server=https://192.168.100.151:6443" in kubectl["argv"]
    assert "--kube-apiserver=https://192.168.100.151:6443" in helm["argv"]


def test_a_pod_that_is_not_ready_is_named_with_its_namespace_and_reason(node):
    (trouble,) = node.salt["cluster_facts.facts"]()["pods"]["not_ready"]
    assert trouble.startswith("default/capture on saw-k8s-w-0") and "capture waits: " in trouble


def test_an_api_server_that_does_not_answer_is_a_failure_in_kubectls_words(node):
    refused = "The connection to the server 192.168.100.151:6443 was refused"
    node.tool("kubectl", f"print({refused!r}, file=sys.stderr); sys.exit(1)")
    with pytest.raises(CommandExecutionError, match=f"saw-k8s-m-01: kubectl get: {refused}"):
        node.salt["cluster_facts.facts"]()


def test_a_chart_without_a_version_at_its_end(node):
    release = {"name": "a", "namespace": "b", "status": "failed", "chart": "odd"}
    assert node.salt["cluster_facts.parse_releases"](json.dumps([release])) == [release | {"version": "?"}]


@pytest.mark.parametrize(
    ("chart", "name", "version"),
    [("kube-prometheus-stack-72.6.2", "kube-prometheus-stack", "72.6.2"), ("a-v1.2.3-rc.1", "a", "v1.2.3-rc.1")],
)
def test_charts_names_may_have_dashes_and_versions_too(node, chart, name, version):
    release = {"name": "a", "namespace": "b", "status": "deployed", "chart": chart}
    (told,) = node.salt["cluster_facts.parse_releases"](json.dumps([release]))
    assert (told["chart"], told["version"]) == (name, version)


def test_an_endpoint_that_is_not_there_is_said(tmp_path):
    node = Member(tmp_path, extra=["cluster_facts"])
    node.with_files()
    node.pillar["saltern"]["cluster"]["endpoint"] = {"address": "127.0.0.1", "port": 1}
    assert "refused" in node.salt["cluster_facts.endpoint_fault"]()
