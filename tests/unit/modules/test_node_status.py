"""All facts of a node in one call: by role, and with parts that cannot be had."""

from __future__ import annotations

import pytest
from salt.exceptions import CommandExecutionError

from tests.salt_node import Node

APPLIED = {"time": "2026-01-31T12:00:00Z", "succeeded": True, "failed": [], "pillar": {}}
LEADER = {"id": "a", "leader": "a", "version": "3.6.8", "db_mib": 1.0, "errors": []}


@pytest.fixture
def node(tmp_path):
    node = Node(tmp_path, {"saltern": {"node": {"role": "control_plane"}}}, ["node_status", "sandbox"])
    node.answers = {
        "last_apply.summary": APPLIED, "last_apply.drift": [], "certificates.expiries": [], "etcd_facts.own": LEADER,
        "etcd_facts.members": ["m"], "cluster_facts.facts": {"nodes": {}}, "haproxy.version": "2.6.12",
        "haproxy.servers": [], "keepalived.holds": True,
    }  # fmt: skip
    node.asked = []

    def answer(function):
        def answered(*args):
            node.asked.append((function, *args))
            if isinstance(node.answers[function], Exception):
                raise node.answers[function]
            return node.answers[function]

        return answered

    node.salt |= {function: answer(function) for function in node.answers}
    node.file("etc", "provisioner", "artefacts", "kubelet.json", text='{"version": "1.36.4"}')
    return node


def test_etcds_leader_looks_at_the_cluster_too(node):
    told = node.salt["node_status.facts"]()
    assert told["cluster"] == {"nodes": {}} and told["members"] == ["m"]
    assert told["installed"] == {"kubelet": "1.36.4"}
    assert told["errors"] == {} and told["applied"] == APPLIED and told["kernel"]


@pytest.mark.parametrize("etcd", [LEADER | {"leader": "b"}, LEADER | {"leader": ""}, CommandExecutionError("gone")])
def test_another_member_does_not(node, etcd):
    node.answers["etcd_facts.own"] = etcd
    told = node.salt["node_status.facts"]()
    assert "cluster" not in told and "members" not in told


def test_any_control_plane_node_does_when_it_is_told_to(node):
    node.answers["etcd_facts.own"] = LEADER | {"leader": "b"}
    assert "cluster" in node.salt["node_status.facts"](cluster=True)
    assert "cluster" not in node.salt["node_status.facts"](cluster=False)


def test_what_cannot_be_had_is_told_and_hides_nothing_else(node):
    node.answers["last_apply.drift"] = CommandExecutionError("no state run is recorded on this node")
    node.answers["cluster_facts.facts"] = CommandExecutionError("kubectl get: refused")
    node.file("etc", "provisioner", "artefacts", "crio.json", text="{}")
    told = node.salt["node_status.facts"]()
    assert told["errors"] == {
        "drift": "no state run is recorded on this node", "cluster": "kubectl get: refused",
        "installed": "KeyError: 'version'",
    }  # fmt: skip
    assert told["members"] == ["m"] and told["applied"] == APPLIED


def test_a_load_balancer_tells_of_its_servers_and_of_no_cluster(node):
    node.pillar["saltern"] |= {"node": {"role": "load_balancer"}, "haproxy": {"socket": "/run/h.sock"}}
    told = node.salt["node_status.facts"]()
    assert (told["haproxy"], told["backends"]) == ("2.6.12", []) and "etcd" not in told
    assert ("haproxy.servers", "/run/h.sock") in node.asked
    assert "holds_address" not in told


def test_a_load_balancer_that_shares_an_address_tells_whether_it_has_it(node):
    node.pillar["saltern"] |= {"node": {"role": "load_balancer"}, "haproxy": {"socket": "/run/h.sock"}}
    node.pillar["saltern"]["keepalived"] = {"virtual_address": "192.168.100.149"}
    assert node.salt["node_status.facts"]()["holds_address"] is True
    assert ("keepalived.holds", "192.168.100.149") in node.asked


def test_a_worker_asks_for_neither(node):
    node.pillar["saltern"]["node"]["role"] = "worker"
    node.salt["node_status.facts"](cluster=True)
    assert [call[0] for call in node.asked] == ["last_apply.summary", "last_apply.drift", "certificates.expiries"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n', "Debian GNU/Linux 12 (bookworm)"),
        ("# a comment = 1\nPRETTY_NAME='Rocky Linux 9.4'\n", "Rocky Linux 9.4"),
        ("ID=x\n", "Linux"),
    ],
)
def test_the_operating_systems_name(node, tmp_path, text, name):
    (tmp_path / "os-release").write_text(text)
    assert node.salt["node_status.os_name"](str(tmp_path / "os-release")) == name
