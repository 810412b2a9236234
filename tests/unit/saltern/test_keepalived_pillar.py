"""What load balancers that share an address tell keepalived."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from saltern import keepalived, node_pillar
from tests.unit.saltern.definitions import PAIR, shipped

THIRD = {"saw-k8s-ha-03": PAIR["nodes"]["saw-k8s-ha-02"] | {"address": "192.168.100.147"}}


def built(tmp_path, name, **more):
    found = shipped(tmp_path, PAIR | {"nodes": PAIR["nodes"] | more})
    return node_pillar.build(found, name)["saltern"]["keepalived"]


def test_each_of_a_pair_knows_the_address_itself_and_the_other(tmp_path):
    assert built(tmp_path, "saw-k8s-ha-01") == {
        "virtual_address": "192.168.100.149",
        "virtual_router_id": 149,
        "priority": 200,
        "address": "192.168.100.150",
        "peers": ["192.168.100.148"],
        "check": {"path": "/usr/libexec/keepalived/check-haproxy", "alive": "127.0.0.1:8405"},
        "config_path": "/etc/keepalived/keepalived.conf",
    }
    second = built(tmp_path, "saw-k8s-ha-02")
    assert (second["address"], second["peers"], second["priority"]) == ("192.168.100.148", ["192.168.100.150"], 180)


def test_a_third_one_is_everyones_peer(tmp_path):
    names = ("saw-k8s-ha-01", "saw-k8s-ha-02", "saw-k8s-ha-03")
    found = [built(tmp_path, name, **THIRD) for name in names]
    assert [one["priority"] for one in found] == [200, 180, 160]
    assert found[1]["peers"] == ["192.168.100.150", "192.168.100.147"]
    assert {one["virtual_router_id"] for one in found} == {149}


def test_priorities_of_many_stay_in_range(tmp_path):
    rows = {
        f"saw-k8s-ha-{n}": PAIR["nodes"]["saw-k8s-ha-02"] | {"address": f"192.168.100.{n}"} for n in range(30, 45)
    }
    found = shipped(tmp_path, PAIR | {"nodes": PAIR["nodes"] | rows})
    given = [keepalived.priority(found, row) for row in found.load_balancers]
    assert given == sorted(given, reverse=True) and given[-1] == 1


@pytest.mark.parametrize(
    ("address", "number"), [("192.168.100.149", 149), ("10.0.1.255", 255), ("10.0.1.0", 255), ("10.9.8.1", 1)]
)
def test_the_router_id_is_the_last_octet(address, number):
    assert keepalived.router_id(IPv4Address(address)) == number


def test_one_load_balancer_knows_nothing_of_keepalived(tmp_path):
    assert "keepalived" not in node_pillar.build(shipped(tmp_path), "saw-k8s-ha-01")["saltern"]
    for name in ("saw-k8s-m-01", "saw-k8s-w-01"):
        assert "keepalived" not in node_pillar.build(shipped(tmp_path, PAIR), name)["saltern"]
