"""keepalived's configuration, its interface, and who has the address. keepalived's own word: tests/functional/pair."""

from __future__ import annotations

import json

import pytest
from salt.exceptions import CommandExecutionError

from saltern import node_pillar
from tests.salt_node import Node
from tests.unit.saltern.definitions import PAIR, shipped

# `ip -json address show` of the first load balancer of a pair, which has the address.
LINKS = [
    {"ifname": "lo", "address": "00:00:00:00:00:00", "addr_info": [{"family": "inet", "local": "127.0.0.1"}]},
    {
        "ifname": "eth0",
        "address": "bc:24:11:5e:00:65",
        "addr_info": [
            {"family": "inet", "local": "192.168.100.150", "prefixlen": 24, "scope": "global", "label": "eth0"},
            {"family": "inet", "local": "192.168.100.149", "prefixlen": 32, "scope": "global", "label": "eth0"},
            {"family": "inet6", "local": "fe80::be24:11ff:fe5e:65", "prefixlen": 64, "scope": "link"},
        ],
    },
]


@pytest.fixture
def node(tmp_path):
    pillar = node_pillar.build(shipped(tmp_path / "definition", PAIR), "saw-k8s-ha-01")
    node = Node(tmp_path, pillar, ["keepalived", "preflight_identity"], minion_id="saw-k8s-ha-01")
    node.salt["preflight_identity.links"] = lambda: node.salt["preflight_identity.interfaces"](json.dumps(LINKS))
    return node


def test_the_configuration(node):
    settings = node.pillar["saltern"]["keepalived"]
    text = node.salt["keepalived.text"](settings, "eth0")
    lines = [line.strip() for line in text.splitlines()]
    for line in (
        "router_id saw-k8s-ha-01", "vrrp_version 3", "vrrp_check_unicast_src", "state BACKUP", "nopreempt",
        'script "/usr/libexec/keepalived/check-haproxy 127.0.0.1 8405"', "interface eth0", "virtual_router_id 149",
        "priority 200", "unicast_src_ip 192.168.100.150", "192.168.100.148", "192.168.100.149/32 dev eth0",
    ):  # fmt: skip
        assert lines.count(line) == 1, line
    assert "authentication" not in text and text.count("{") == text.count("}")


def test_each_peer_has_a_line(node):
    settings = node.pillar["saltern"]["keepalived"] | {"peers": ["192.168.100.148", "192.168.100.147"]}
    text = node.salt["keepalived.text"](settings, "eth0")
    assert "  unicast_peer {\n    192.168.100.148\n    192.168.100.147\n  }\n" in text


def test_the_interface_is_the_one_with_the_nodes_address(node):
    assert node.salt["keepalived.device"]("192.168.100.150") == "eth0"
    with pytest.raises(CommandExecutionError, match=r"saw-k8s-ha-01: no interface has 192\.168\.100\.15, .*pillar"):
        node.salt["keepalived.device"]("192.168.100.15")


@pytest.mark.parametrize(("address", "holds"), [("192.168.100.149", True), ("192.168.100.14", False)])
def test_who_has_the_address(node, address, holds):
    assert node.salt["keepalived.holds"](address) is holds
