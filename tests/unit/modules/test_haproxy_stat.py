"""What HAProxy says of its servers, read from what a real one said (2.6.12, `show stat`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.salt_node import Node

CAPTURED = Path(__file__).parent / "captured" / "haproxy-2.6.12-show-stat.csv"


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path, {}, ["haproxy"], minion_id="saw-k8s-ha-01")


def test_servers_with_their_states_and_neither_frontends_nor_sums(node):
    found = node.salt["haproxy.parse_stat"](CAPTURED.read_text())
    assert [(row["backend"], row["server"], row["status"]) for row in found] == [
        *(("kubernetes-api", f"saw-k8s-m-0{n}", "UP") for n in (1, 2, 3)),
        *(("kubernetes-api-last-resort", f"saw-k8s-m-0{n}", "no check") for n in (1, 2, 3)),
    ]
    assert found[1] == {
        "backend": "kubernetes-api", "server": "saw-k8s-m-02", "address": "192.168.100.152:6443", "status": "UP",
        "check": "Layer7 check passed",
    }  # fmt: skip


def test_no_haproxy_is_said_with_what_to_type(node, tmp_path):
    with pytest.raises(CommandExecutionError, match=r"no HAProxy answers on .*none\.sock .*systemctl status haproxy"):
        node.salt["haproxy.servers"](tmp_path / "none.sock")
