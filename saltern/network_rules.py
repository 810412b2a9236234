"""Rules about networks and addresses: nothing overlaps, nothing is given twice, everything can be reached."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from saltern.addresses import AddressRange
from saltern.model import Cluster
from saltern.problems import Draft, Key, Problem, Rule, node_key

WIDEST_SERVICE_PREFIX = 12  # kube-apiserver: "the mask must be >= 12"
NARROWEST_SERVICE_PREFIX = 28  # the DNS service is the tenth address
MOST_NODE_MASK_BITS = 16  # kube-controller-manager: node mask and pod network at most 16 bits apart

NETWORK: Key = ("cluster", "network", "cidr")
GATEWAY: Key = ("cluster", "network", "gateway")
DNS: Key = ("cluster", "network", "dns")
SERVICES: Key = ("cluster", "service_cidr")
PODS: Key = ("cluster", "pod_cidr")
NODE_MASK: Key = ("cluster", "pod_cidr_node_mask")
VIRTUAL: Key = ("cluster", "virtual_address")
WORKER_RANGE: Key = ("cluster", "worker_range")
POOLS: Key = ("metallb", "pools")


def host_of(address: IPv4Address, network: IPv4Network) -> bool:
    """Whether an address can be a machine's: in the network, not its first, not its broadcast."""
    return address in network and address not in (network.network_address, network.broadcast_address)


def networks_apart(draft: Draft) -> Iterator[Problem]:
    """The machines', the services' and the pods' networks share no address."""
    settings = draft.cluster.settings
    named = [(NETWORK, settings.network.cidr), (SERVICES, settings.service_cidr), (PODS, settings.pod_cidr)]
    for (first_key, first), (second_key, second) in combinations(named, 2):
        if first.overlaps(second):
            yield Problem(
                second_key,
                f"overlaps {'.'.join(first_key)} = {first}: packets for one would go to the other",
                "write a private network that overlaps neither of the other two, like 10.4.0.0/14",
                second,
                (first_key,),
            )


def service_network_size(draft: Draft) -> Iterator[Problem]:
    """The service network is one that kube-apiserver takes and that holds the DNS service."""
    network = draft.cluster.settings.service_cidr
    if not WIDEST_SERVICE_PREFIX <= network.prefixlen <= NARROWEST_SERVICE_PREFIX:
        rule = f"kube-apiserver takes a service network from /{WIDEST_SERVICE_PREFIX} to /{NARROWEST_SERVICE_PREFIX}"
        yield Problem(SERVICES, rule, "write one of that size, like 10.0.0.0/14", network)


def pod_network_size(draft: Draft) -> Iterator[Problem]:
    """Every node gets its share of the pod network."""
    cluster = draft.cluster
    network, mask = cluster.settings.pod_cidr, cluster.settings.pod_cidr_node_mask
    bits = mask - network.prefixlen
    if not 0 <= bits <= MOST_NODE_MASK_BITS:
        rule = f"must lie between pod_cidr's own prefix /{network.prefixlen} and {MOST_NODE_MASK_BITS} bits beyond it"
        last = min(30, network.prefixlen + MOST_NODE_MASK_BITS)
        yield Problem(NODE_MASK, rule, f"write a number from {network.prefixlen} to {last}", mask, (PODS,))
        return
    shares, tabled = 2**bits, draft.count("control_plane") + draft.count("worker")
    spare = len(set(cluster.settings.worker_range or ()) - {node.address for node in cluster.workers})
    remedy = f"write a larger pod_cidr, or a pod_cidr_node_mask above {mask}"
    if shares < tabled:
        rule = f"{network} has {shares} shares of /{mask}, the table has {tabled} nodes"
        yield Problem(NODE_MASK, rule, remedy, mask, (PODS,))
    elif shares < tabled + spare:
        rule = f"{network} has {shares} shares of /{mask}; table and worker_range may come to {tabled + spare} nodes"
        yield Problem(NODE_MASK, rule, remedy, mask, (PODS, WORKER_RANGE), warning=True)


def gateway_in_network(draft: Draft) -> Iterator[Problem]:
    """The gateway is a host of the machines' network."""
    network = draft.cluster.network
    if not host_of(network.gateway, network.cidr):
        rule = f"is no host address of the network {network.cidr}"
        yield Problem(GATEWAY, rule, f"write the router's address in {network.cidr}", network.gateway, (NETWORK,))


def node_addresses(draft: Draft) -> Iterator[Problem]:
    """Each machine has an address of the network that nothing else has."""
    cluster = draft.cluster
    network = cluster.network
    taken: dict[IPv4Address, tuple[str, Key]] = {
        cluster.master.address: ("the Salt master (master.address)", ("master", "address")),
        network.gateway: ("the gateway (cluster.network.gateway)", GATEWAY),
    }
    if cluster.settings.virtual_address:
        taken[cluster.settings.virtual_address] = ("the endpoint (cluster.virtual_address)", VIRTUAL)
    for node in cluster.nodes.values():
        key = node_key(node.name, "address")
        if not host_of(node.address, network.cidr):
            rule = f"is no host address of the network {network.cidr}"
            yield Problem(key, rule, f"write a free address of {network.cidr}", node.address, (NETWORK,))
        if node.address in taken:
            owner, owner_key = taken[node.address]
            rule = f"is also the address of {owner}"
            yield Problem(key, rule, "give it an address of its own", node.address, (owner_key,))
        taken.setdefault(node.address, (f"{node.name} (nodes.{node.name}.address)", key))


def virtual_address_free(draft: Draft) -> Iterator[Problem]:
    """The load balancers' shared address is a host of the network and nothing else's."""
    cluster = draft.cluster
    address = cluster.settings.virtual_address
    if address is None:
        return
    if not host_of(address, cluster.network.cidr):
        rule = f"is no host address of the network {cluster.network.cidr}"
        yield Problem(VIRTUAL, rule, f"write a free address of {cluster.network.cidr}", address, (NETWORK,))
    if address in (cluster.network.gateway, cluster.master.address, *cluster.network.dns):
        rule = "is the address of the gateway, of the Salt master or of a DNS server"
        reads: tuple[Key, ...] = (GATEWAY, ("master", "address"), DNS)
        yield Problem(VIRTUAL, rule, "write an address that nothing has", address, reads)


def occupied(cluster: Cluster) -> list[tuple[str, Key, AddressRange]]:
    """Every address that something has, for rules about ranges: what it is, its key, the address."""
    single: list[tuple[str, Key, IPv4Address]] = [
        ("the gateway", GATEWAY, cluster.network.gateway),
        ("the Salt master", ("master", "address"), cluster.master.address),
        *(("a DNS server", DNS, address) for address in cluster.network.dns),
        *((node.name, node_key(node.name, "address"), node.address) for node in cluster.nodes.values()),
    ]
    if cluster.settings.virtual_address:
        single.append(("the endpoint", VIRTUAL, cluster.settings.virtual_address))
    found = [(owner, key, AddressRange(address, address)) for owner, key, address in single]
    return list({(key, span): (owner, key, span) for owner, key, span in found}.values())


def range_problems(draft: Draft, key: Key, wanted: AddressRange, unless: Collection[str] = ()) -> Iterator[Problem]:
    """A range lies within the network and touches no address that something has (but for the machines ``unless``)."""
    network = draft.cluster.network.cidr
    if not wanted.inside(network):
        rule = f"does not lie within the host addresses of the network {network}"
        yield Problem(key, rule, f"write FIRST-LAST within {network}", wanted, (NETWORK,))
    others = [found for found in occupied(draft.cluster) if found[0] not in unless]
    touched = [(owner, owner_key, span) for owner, owner_key, span in others if wanted.overlaps(span)]
    if touched:
        owners = ", ".join(f"{owner} ({span.first})" for owner, _, span in touched)
        reads = tuple(owner_key for _, owner_key, _ in touched)
        yield Problem(key, f"touches the address of {owners}", "write a range that nothing uses", wanted, reads)


def worker_range_free(draft: Draft) -> Iterator[Problem]:
    """The range for further workers touches nothing but workers: those that got their address from it."""
    if draft.cluster.settings.worker_range:
        workers = [node.name for node in draft.cluster.workers]
        yield from range_problems(draft, WORKER_RANGE, draft.cluster.settings.worker_range, unless=workers)


def pools_free(draft: Draft) -> Iterator[Problem]:
    """Pools touch no machine, not the worker range, and not each other."""
    pools = draft.cluster.metallb.pools
    named = [((*POOLS, name), wanted) for name, ranges in pools.items() for wanted in ranges]
    for key, wanted in named:
        yield from range_problems(draft, key, wanted)
        spare = draft.cluster.settings.worker_range
        if spare and wanted.overlaps(spare):
            rule = f"touches cluster.worker_range = {spare}: a new worker could get a service's address"
            yield Problem(key, rule, "move one of the two", wanted, (WORKER_RANGE,))
    for (first_key, first), (second_key, second) in combinations(named, 2):
        if first.overlaps(second):
            rule = f"touches {'.'.join(first_key)} = {first}: two services could get one address"
            yield Problem(second_key, rule, "move one of the two", second, (first_key,))
    for name, ranges in pools.items():
        if not ranges:
            yield Problem((*POOLS, name), "the pool is empty", "write at least one FIRST-LAST", "[]")


RULES: tuple[Rule, ...] = (
    networks_apart,
    service_network_size,
    pod_network_size,
    gateway_in_network,
    node_addresses,
    virtual_address_free,
    worker_range_free,
    pools_free,
)
