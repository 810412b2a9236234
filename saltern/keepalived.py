"""Which load balancer holds the virtual address: what each of them tells keepalived."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from saltern import haproxy
from saltern.model import Cluster
from saltern.parts import Node

CONFIG_PATH = "/etc/keepalived/keepalived.conf"
# Where the packages of the RedHat family have a place for such scripts, and SELinux lets keepalived run them.
CHECK_PATH = "/usr/libexec/keepalived/check-haproxy"
# Priorities of VRRP go from 1 to 254. Far enough apart for standbys not to take over at the same moment.
HIGHEST_PRIORITY, PRIORITY_STEP, LOWEST_PRIORITY = 200, 20, 1
LARGEST_ROUTER_ID = 255


def build(cluster: Cluster, node: Node, virtual_address: IPv4Address) -> dict[str, Any]:
    """The part ``keepalived`` of a load balancer's pillar.

    Args:
        cluster: the definition.
        node: the load balancer.
        virtual_address: what it shares with the others.
    """
    others = [row for row in cluster.load_balancers if row.name != node.name]
    return {
        "virtual_address": str(virtual_address),
        "virtual_router_id": router_id(virtual_address),
        "priority": priority(cluster, node),
        "address": str(node.address),
        "peers": [str(row.address) for row in others],
        "check": {"path": CHECK_PATH, "alive": haproxy.ALIVE},
        "config_path": CONFIG_PATH,
    }


def router_id(virtual_address: IPv4Address) -> int:
    """The number by which VRRP tells pairs on one network apart: the address's last octet, which others do not have.

    VRRP has the numbers from 1 to 255 (RFC 5798, 5.2.3); in a network wider than /24 an address may end with 0.

    >>> router_id(IPv4Address("192.168.100.149")), router_id(IPv4Address("10.0.1.0"))
    (149, 255)
    """
    return int(virtual_address) % (LARGEST_ROUTER_ID + 1) or LARGEST_ROUTER_ID


def priority(cluster: Cluster, node: Node) -> int:
    """Who takes the address when nobody has it: the first of the table, then the next."""
    place = [row.name for row in cluster.load_balancers].index(node.name)
    return max(HIGHEST_PRIORITY - place * PRIORITY_STEP, LOWEST_PRIORITY)
