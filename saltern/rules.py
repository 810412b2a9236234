"""The rules between the fields of a definition. Each is a generator of problems; :func:`problems` runs them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from typing import Any

from saltern import compatibility
from saltern.addresses import AddressRange
from saltern.model import Cluster

Key = tuple[str, ...]
STAND_IN = "stand-in"  # names what schema.py put in place of a broken part: no rule speaks about it

ENOUGH_CONTROL_PLANE_NODES = 5  # more members slow etcd's writes and gain little (etcd FAQ)
MIN_CONTROL_PLANE_CPUS = 2  # kubeadm's preflight check NumCPU
MIN_CONTROL_PLANE_MEMORY_GIB = 2  # kubeadm's preflight check Mem wants 1700 MB
WIDEST_SERVICE_PREFIX = 12  # kube-apiserver: "the mask must be >= 12"
NARROWEST_SERVICE_PREFIX = 28  # the DNS service is the tenth address
MOST_NODE_MASK_BITS = 16  # kube-controller-manager: node mask and pod network at most 16 bits apart
FIRST_MINOR_WITH_V1BETA4 = (1, 31)  # kubeadm.k8s.io/v1beta4
KUBERNETES_BINARIES = ("kubeadm", "kubelet", "kubectl")


@dataclass(frozen=True)
class Problem:
    """What a rule found.

    Attributes:
        key: the key in the merged data, e.g. ("nodes", "saw-k8s-w-01", "address").
        rule: what it breaks.
        remedy: what to write instead.
        value: what is written there; "" to show nothing.
        reads: other keys that the rule looked at: when one of those is broken, the problem is not reported.
        warning: doubtful, not wrong.
    """

    key: Key
    rule: str
    remedy: str
    value: object = ""
    reads: tuple[Key, ...] = ()
    warning: bool = False


@dataclass(frozen=True)
class Draft:
    """A definition under test: the model of its right parts, the data as written, and the keys that are broken."""

    cluster: Cluster
    data: dict[str, Any] = field(default_factory=dict)
    broken: tuple[Key, ...] = ()

    def roles(self) -> dict[str, object]:
        """The role of each row as written, also of rows that are wrong elsewhere."""
        rows = self.data.get("nodes")
        named = rows.items() if isinstance(rows, dict) else ()
        return {name: row.get("role") for name, row in named if isinstance(row, dict)}

    def count(self, role: str) -> int:
        """How many rows have a role."""
        return sum(found == role for found in self.roles().values())

    def reads_roles(self) -> tuple[Key, ...]:
        """What a rule about the number of nodes looks at."""
        return (("nodes",), *(("nodes", name, "role") for name in self.data.get("nodes") or ()))

    def concerns(self, problem: Problem) -> bool:
        """Whether a problem is about what is written, not about a stand-in or what follows from a broken part."""
        keys = (problem.key, *problem.reads)
        if any(STAND_IN in key for key in keys):
            return False
        return not any(key[: len(broken)] == broken for key in keys for broken in self.broken)


Rule = Callable[[Draft], Iterator[Problem]]

NETWORK: Key = ("cluster", "network", "cidr")
GATEWAY: Key = ("cluster", "network", "gateway")
SERVICES: Key = ("cluster", "service_cidr")
PODS: Key = ("cluster", "pod_cidr")
NODE_MASK: Key = ("cluster", "pod_cidr_node_mask")
VIRTUAL: Key = ("cluster", "virtual_address")
WORKER_RANGE: Key = ("cluster", "worker_range")
POOLS: Key = ("metallb", "pools")


def problems(draft: Draft) -> list[Problem]:
    """Everything that the rules find."""
    return [problem for rule in RULES for problem in rule(draft) if draft.concerns(problem)]


def node_key(name: str, field_name: str) -> Key:
    """The key of a row's field."""
    return ("nodes", name, field_name)


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
    spare = len(cluster.settings.worker_range or ())
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
    if address in (cluster.network.gateway, cluster.master.address):
        rule = "is the address of the gateway or of the Salt master"
        yield Problem(VIRTUAL, rule, "write an address that nothing has", address, (GATEWAY, ("master", "address")))


def control_plane_size(draft: Draft) -> Iterator[Problem]:
    """etcd wants an odd number of members: an even one tolerates no more failures and adds one more that can fail."""
    count, reads = draft.count("control_plane"), draft.reads_roles()
    rule = f"{count} control-plane nodes"
    if count == 0:
        yield Problem(("nodes",), "no control-plane node", "give 1, 3 or 5 rows the role control_plane", reads=reads)
    elif count % 2 == 0:
        rule = f"{rule}: an even number of etcd members tolerates no more failures than {count - 1} do"
        yield Problem(("nodes",), rule, "write 1, 3 or 5 rows with the role control_plane", reads=reads)
    elif count == 1:
        rule = "1 control-plane node: when it is down, so is the API, and its loss is the cluster's loss"
        yield Problem(("nodes",), rule, "write 3 or 5 rows with the role control_plane", reads=reads, warning=True)
    elif count > ENOUGH_CONTROL_PLANE_NODES:
        rule = f"{rule}: more than {ENOUGH_CONTROL_PLANE_NODES} slow etcd's writes"
        yield Problem(("nodes",), rule, "write 3 or 5 rows with the role control_plane", reads=reads, warning=True)


def load_balancer_count(draft: Draft) -> Iterator[Problem]:
    """There is a load balancer, and two have a shared address."""
    count, reads = draft.count("load_balancer"), draft.reads_roles()
    if count == 0:
        rule = "no load balancer: kubeconfigs name its address, never a control-plane node's"
        yield Problem(("nodes",), rule, "give one row the role load_balancer", reads=reads)
    elif count > 1 and draft.cluster.settings.virtual_address is None:
        rule = f"{count} load balancers and no shared address: there would be no one endpoint"
        remedy = "write a free address of the network here, or keep one load_balancer row"
        yield Problem(VIRTUAL, rule, remedy, "null", reads)


def worker_count(draft: Draft) -> Iterator[Problem]:
    """Something can carry workloads, the verification service included."""
    if draft.count("worker") == 0:
        rule = "no worker: control-plane nodes take no ordinary pods"
        yield Problem(("nodes",), rule, "give at least one row the role worker", reads=draft.reads_roles())


def control_plane_resources(draft: Draft) -> Iterator[Problem]:
    """kubeadm's minima, unless its check is switched off."""
    ignored = {check.lower() for check in draft.cluster.kubeadm.ignore_preflight_errors}
    for node in draft.cluster.control_plane:
        if node.cpus < MIN_CONTROL_PLANE_CPUS and not ignored & {"numcpu", "all"}:
            rule = f"kubeadm wants {MIN_CONTROL_PLANE_CPUS} CPUs or more on a control-plane node"
            yield Problem(node_key(node.name, "cpus"), rule, f"write {MIN_CONTROL_PLANE_CPUS} or more", node.cpus)
        if node.memory_gib < MIN_CONTROL_PLANE_MEMORY_GIB and not ignored & {"mem", "all"}:
            rule = f"kubeadm wants {MIN_CONTROL_PLANE_MEMORY_GIB} GiB or more on a control-plane node"
            remedy = f"write {MIN_CONTROL_PLANE_MEMORY_GIB} or more"
            yield Problem(node_key(node.name, "memory_gib"), rule, remedy, node.memory_gib)


def occupied(cluster: Cluster) -> list[tuple[str, Key, AddressRange]]:
    """Every address that something has, for rules about ranges: what it is, its key, the address."""
    single: list[tuple[str, Key, IPv4Address]] = [
        ("the gateway", GATEWAY, cluster.network.gateway),
        ("the Salt master", ("master", "address"), cluster.master.address),
        *(("a DNS server", ("cluster", "network", "dns"), address) for address in cluster.network.dns),
        *((node.name, node_key(node.name, "address"), node.address) for node in cluster.nodes.values()),
    ]
    if cluster.settings.virtual_address:
        single.append(("the endpoint", VIRTUAL, cluster.settings.virtual_address))
    found = [(owner, key, AddressRange(address, address)) for owner, key, address in single]
    return list({(key, span): (owner, key, span) for owner, key, span in found}.values())


def range_problems(draft: Draft, key: Key, wanted: AddressRange) -> Iterator[Problem]:
    """A range lies within the network and touches no address that something has."""
    network = draft.cluster.network.cidr
    if not wanted.inside(network):
        rule = f"does not lie within the host addresses of the network {network}"
        yield Problem(key, rule, f"write FIRST-LAST within {network}", wanted, (NETWORK,))
    for owner, owner_key, span in occupied(draft.cluster):
        if wanted.overlaps(span):
            rule = f"touches the address of {owner} ({'.'.join(owner_key)} = {span.first})"
            yield Problem(key, rule, "move the range, or that address", wanted, (owner_key,))


def worker_range_free(draft: Draft) -> Iterator[Problem]:
    """The range for workers outside the table touches nothing."""
    if draft.cluster.settings.worker_range:
        yield from range_problems(draft, WORKER_RANGE, draft.cluster.settings.worker_range)


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


def minor(version: str) -> tuple[int, int]:
    """A version's first two numbers."""
    first, second, _ = version.split(".")
    return int(first), int(second)


def kubernetes_versions(draft: Draft) -> Iterator[Problem]:
    """kubeadm, kubelet and kubectl are of the cluster's version, CRI-O of its minor."""
    versions = draft.cluster.versions
    wanted, kubernetes_key, crio_key = versions.kubernetes, ("versions", "kubernetes"), ("versions", "crio")
    for name in KUBERNETES_BINARIES:
        found = versions.artefacts.get(name)
        if found and found.version != wanted:
            key = ("versions", "artefacts", name, "version")
            rule = f"unlike kubernetes = {wanted}: kubeadm, kubelet and kubectl are of one version"
            remedy = f"write {wanted} here with its sha256, or change kubernetes"
            yield Problem(key, rule, remedy, found.version, (kubernetes_key,))
    crio = versions.artefacts.get("crio")
    if crio and crio.version != versions.crio:
        key = ("versions", "artefacts", "crio", "version")
        remedy = f"write {versions.crio} here with its sha256, or change crio"
        yield Problem(key, f"unlike crio = {versions.crio}", remedy, crio.version, (crio_key,))
    if minor(versions.crio) != minor(wanted):
        text = ".".join(str(number) for number in minor(wanted))
        rule = f"CRI-O's minor is unlike the kubelet's ({wanted}): the two speak one version of the CRI"
        yield Problem(crio_key, rule, f"write a {text}.x of CRI-O and its sha256", versions.crio, (kubernetes_key,))
    if minor(wanted) < FIRST_MINOR_WITH_V1BETA4:
        rule = "kubeadm has the configuration v1beta4 from 1.31 on"
        yield Problem(kubernetes_key, rule, "write 1.31.0 or newer", wanted)


def cilium_supports(draft: Draft) -> Iterator[Problem]:
    """The pinned Cilium was tested with this Kubernetes."""
    versions = draft.cluster.versions
    chart = versions.artefacts.get("cilium-chart")
    if chart is None:
        return
    text = compatibility.cilium_doubt(chart.version, versions.kubernetes)
    if text:
        key = ("versions", "artefacts", "cilium-chart", "version")
        remedy = "pin versions that were tested together (docs.cilium.io, Kubernetes Compatibility)"
        yield Problem(key, text, remedy, chart.version, (("versions", "kubernetes"),), warning=True)


RULES: tuple[Rule, ...] = (
    networks_apart,
    service_network_size,
    pod_network_size,
    gateway_in_network,
    node_addresses,
    virtual_address_free,
    control_plane_size,
    load_balancer_count,
    worker_count,
    control_plane_resources,
    worker_range_free,
    pools_free,
    kubernetes_versions,
    cilium_supports,
)
