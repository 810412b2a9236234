"""Programs of the sandbox: whom they ask, by whose credentials, and what becomes of one that does not end."""

from __future__ import annotations

from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.salt_node import Node

PILLAR = {"saltern": {"cluster": {"endpoint": {"address": "192.168.100.150", "port": 6443}}}}
ENDPOINT = "https://192.168.100.150:6443"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path, PILLAR, ["sandbox"])
    for name in ("kubectl", "helm", "kubeadm"):
        made.tool(name)
    return made


def run(node: Node, tool: str, args: list[str], **options: object) -> dict:
    assert node.salt["sandbox.run"](tool, args, **options)["retcode"] == 0
    return node.calls(tool)[-1]


@pytest.mark.parametrize("tool", ["kubectl", "helm"])
def test_a_client_of_the_api_asks_the_endpoint_whatever_admin_conf_says(node: Node, tool: str) -> None:
    call = run(node, tool, ["get", "nodes"])
    assert (call["argv"][1:], call["server"]) == (["get", "nodes"], ENDPOINT)
    assert call["kubeconfig"] == f"{node.sandbox}/etc/kubernetes/admin.conf"


def test_who_names_a_server_or_a_kubeconfig_is_left_to_it(node: Node) -> None:
    call = run(node, "kubectl", ["get", "nodes", "--server=https://192.168.100.151:6443"])
    assert (call["argv"][-1], call["server"]) == ("--server=https://192.168.100.151:6443", "")
    assert run(node, "kubectl", ["get", "nodes"], kubeconfig="/etc/new.conf")["server"] == ""


def test_what_follows_two_dashes_is_another_programs(node: Node) -> None:
    node.tool("kubectl", f"assert {f'--server={ENDPOINT}'!r} not in sys.orig_argv[sys.orig_argv.index('--'):]")
    assert run(node, "kubectl", ["exec", "etcd", "--", "etcdctl", "member", "list"])["server"] == ENDPOINT


def test_other_programs_and_nodes_without_a_pillar_are_left_alone(node: Node, tmp_path: Path) -> None:
    assert run(node, "kubeadm", ["version"])["server"] == ""
    bare = Node(tmp_path / "bare", {}, ["sandbox"])
    bare.tool("kubectl")
    assert run(bare, "kubectl", ["version"])["server"] == ""


def test_a_program_that_is_not_there_is_told_with_the_way_to_get_it(node: Node) -> None:
    with pytest.raises(CommandExecutionError, match=r"cannot run .*/bin/k9s .*state.apply binaries"):
        node.salt["sandbox.run"]("k9s", [])


def test_a_program_that_does_not_end_is_killed(node: Node) -> None:
    node.tool("kubectl", "import time; time.sleep(60)")
    with pytest.raises(CommandExecutionError, match=r"kubectl get nodes did not end within 0.5 s and was killed"):
        node.salt["sandbox.run"]("kubectl", ["get", "nodes"], timeout_s=0.5)
