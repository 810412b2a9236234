"""What the preflight reports of all nodes amount to: one problem for each cause, whoever sees it.

Nodes report findings and facts (``_modules/preflight.py``). What only a comparison shows is found here: clocks, names,
identities, who reaches whom. Data in, problems out: no I/O.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from saltern.model import Cluster
from saltern.steps import Problem

STEP = "Preflight"
ENDPOINT = "endpoint-unreachable"
# As many names as fit on a line; all nodes together have a shorter name.
ALL_FROM = 3


@dataclass(frozen=True)
class Report:
    """What one node told.

    Args:
        findings: what stands in its way: [{code, what, where, why, remedy}].
        facts: ``preflight_identity.facts``.
        unreached: other nodes to which the way is blocked: [{node, port, reason}].
        clock: its clock at the begin and at the end of the call, seconds since the epoch; None: not told.
        asked, answered: the master's clock when the call was sent and when the answer came.
    """

    findings: Sequence[Mapping[str, str]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    unreached: Sequence[Mapping[str, Any]] = ()
    clock: tuple[float, float] | None = None
    asked: float = 0.0
    answered: float = 0.0

    @classmethod
    def of(cls, value: Mapping[str, Any], asked: float, answered: float) -> Report:
        """From the return of ``preflight.findings``; parts that an older module does not tell are left out."""
        clock = value.get("clock")
        return cls(
            findings=value.get("findings", ()),
            facts=value.get("facts", {}),
            unreached=value.get("unreached", ()),
            clock=(clock[0], clock[1]) if clock else None,
            asked=asked,
            answered=answered,
        )

    def skew(self) -> tuple[float, float] | None:
        """Bounds of how far the node's clock is ahead of the master's, in seconds (negative: behind).

        The call began after it was sent and ended before its answer came. So the clock is ahead by no more than
        (begin - sent), and by no less than (end - answer): however long publication, queues and the way back took,
        latency widens the bounds and never counts as skew.
        """
        if self.clock is None:
            return None
        began, ended = self.clock
        return ended - self.answered, began - self.asked


def problems(reports: Mapping[str, Report], status: Mapping[str, Mapping[str, Any]], cluster: Cluster) -> list[Problem]:
    """Everything that stands in the way.

    Args:
        reports: node -> what it told.
        status: node -> what ``kubeadm.status`` gave there.
        cluster: the definition.
    """
    mended = {ENDPOINT} if endpoint_free(reports, cluster) else set()
    told = [
        Problem(node, STEP, f"{found['what']} ({found['where']}): {found['why']}", found["remedy"], code=found["code"])
        for node, report in reports.items()
        for found in report.findings
        if found["code"] not in mended
    ]
    told += foreign(status)
    facts = {node: report.facts for node, report in reports.items() if report.facts}
    told += clashes(facts) + address_clashes(facts, cluster)
    told += blocked({node: report.unreached for node, report in reports.items()}, cluster)
    skews = {node: bounds for node, report in reports.items() if (bounds := report.skew())}
    told += skewed(skews, cluster.os.max_clock_skew_s)
    return merged(told, cluster.nodes)


def endpoint_free(reports: Mapping[str, Report], cluster: Cluster) -> bool:
    """Whether no load balancer has the endpoint's address: then the run, which starts keepalived, gives it to one."""
    told = [reports[row.name].facts.get("has_endpoint") for row in cluster.load_balancers if row.name in reports]
    return told == [False] * len(cluster.load_balancers)


def merged(found: Iterable[Problem], nodes: Collection[str]) -> list[Problem]:
    """One problem where several nodes see the same one (a mirror that is down), under all their names."""
    seen: dict[tuple[str, str, str], list[Problem]] = defaultdict(list)
    for problem in found:
        seen[problem.code, problem.cause, problem.remedy].append(problem)
    return [
        Problem(names([problem.node for problem in same], nodes), STEP, cause, remedy, code=code)
        for (code, cause, remedy), same in seen.items()
    ]


def names(some: Sequence[str], every: Collection[str] = ()) -> str:
    """ "saw-k8s-m-01, saw-k8s-m-02", or "all 8 nodes"."""
    if len(some) >= ALL_FROM and set(some) == set(every):
        return f"all {len(some)} nodes"
    return ", ".join(some)


# -- membership


def foreign(status: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Nodes that hold another cluster's state: by their own word, or by a CA that is not the other members'."""
    told = {node: answer["foreign"] for node, answer in status.items() if answer.get("foreign")}
    cas = {
        node: answer["cluster_ca_hash"]
        for node, answer in status.items()
        if node not in told and answer.get("joined") and answer.get("cluster_ca_hash")
    }
    if len(counted := Counter(cas.values()).most_common()) > 1:
        (ours, most), (_, next_most), *_ = counted
        # Without a majority nothing says whose cluster this is: all are named.
        told |= {
            node: f"its CA is {ca}, that of {most} other members is {ours}" if most > next_most
            else f"its CA is {ca}, and the members of the table have {len(counted)} different ones"
            for node, ca in cas.items()
            if ca != ours or most == next_most
        }  # fmt: skip
    return [_foreign(node, reason) for node, reason in told.items()]


def _foreign(node: str, reason: str) -> Problem:
    remedy = (
        f"if that cluster is gone, wipe its traces: salt {node} kubeadm.reset confirm={node}; then run again; "
        "else take the node out of pillar/cluster.sls"
    )
    return Problem(node, STEP, f"{reason}: it may be in use", remedy, code="foreign-cluster")


# -- clocks


def undecided(reports: Mapping[str, Report], max_skew_s: float) -> list[str]:
    """Nodes whose answer took so long that it neither shows a skew nor rules it out."""
    return [
        node
        for node, report in reports.items()
        if (bounds := report.skew()) and _certain(bounds) <= max_skew_s < max(-bounds[0], bounds[1])
    ]


def _certain(bounds: tuple[float, float]) -> float:
    """The least that a clock is off, by its bounds: 0 when they allow that it is right."""
    return max(bounds[0], -bounds[1], 0.0)


def skewed(skews: Mapping[str, tuple[float, float]], max_skew_s: float) -> list[Problem]:
    """Clocks that are certainly further off the master's than allowed; the master's own when all agree against it."""
    off = {node: bounds for node, bounds in skews.items() if _certain(bounds) > max_skew_s}
    middles = {node: (low + high) / 2 for node, (low, high) in off.items()}
    if len(skews) >= ALL_FROM and len(off) == len(skews) and _spread(middles.values()) <= max_skew_s:
        return [_masters_clock(-sum(middles.values()) / len(middles), max_skew_s)]
    return [_nodes_clock(node, middle, max_skew_s) for node, middle in middles.items()]


def _spread(values: Iterable[float]) -> float:
    every = sorted(values)
    return every[-1] - every[0]


def _off(seconds: float) -> str:
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"


def _nodes_clock(node: str, seconds: float, max_skew_s: float) -> Problem:
    cause = f"the clock is {_off(seconds)} the master's: certificates and etcd need {max_skew_s:.0f} s or less"
    remedy = (
        f"salt {node} cmd.run 'timedatectl; chronyc makestep || systemctl restart systemd-timesyncd'; "
        "no time server reached? then on the node: date --set @$(ssh MASTER date +%s)"
    )
    return Problem(node, STEP, cause, remedy, code="clock-skew")


def _masters_clock(seconds: float, max_skew_s: float) -> Problem:
    cause = f"the master's clock is {_off(seconds)} those of all nodes, which agree within {max_skew_s:.0f} s"
    return Problem("", STEP, cause, "on the master: timedatectl; chronyc makestep", code="clock-skew")


# -- identity


@dataclass(frozen=True)
class Identity:
    """Something that no two machines may share.

    Args:
        code: of the finding.
        noun: what it is.
        read: its values from a node's facts.
        why: what happens when two have it.
        remedy: what to type.
    """

    code: str
    noun: str
    read: Callable[[Mapping[str, Any]], Sequence[str]]
    why: str
    remedy: str


ANEW = "make all but one of them anew: salt-cloud -d NAME, then run again"
IDENTITIES = (
    Identity(
        "name-clash",
        "the host name",
        lambda facts: [facts["hostname"].partition(".")[0].lower()] if facts.get("hostname") else [],
        "logs, certificates and the kubelet tell nodes apart by it",
        "hostnamectl set-hostname NAME, the node's name in pillar/cluster.sls, on each; then restart salt-minion",
    ),
    Identity(
        "machine-id-clash",
        "the machine ID",
        lambda facts: [facts["machine_id"]] if facts.get("machine_id") else [],
        "DHCP and the journal tell machines apart by it; the template's was not emptied",
        "on all but one: rm /etc/machine-id && systemd-machine-id-setup, then reboot; empty it in the template "
        "(docs/production.md, 4)",
    ),
    Identity(
        "machine-id-clash",
        "the product UUID",
        lambda facts: [facts["product_uuid"].lower()] if facts.get("product_uuid") else [],
        "kubeadm needs it unique on every node",
        ANEW,
    ),
    Identity(
        "mac-clash",
        "the hardware address",
        lambda facts: facts.get("macs", []),
        "switches and bridges send one machine's packets to the other",
        "give one of them another: qm set VMID --net0 virtio,bridge=BRIDGE on the Proxmox host, then stop and start it",
    ),
)


def clashes(facts: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """Names, machine IDs and hardware addresses that two nodes share: one problem a value."""
    found = []
    for identity in IDENTITIES:
        owners: dict[str, list[str]] = defaultdict(list)
        for node, told in facts.items():
            for value in identity.read(told):
                owners[value].append(node)
        found += [
            Problem(names(nodes), STEP, f"{identity.noun} {value} is that of {len(nodes)} machines: {identity.why}",
                    identity.remedy, code=identity.code)
            for value, nodes in owners.items()
            if len(nodes) > 1
        ]  # fmt: skip
    return found


def address_clashes(facts: Mapping[str, Mapping[str, Any]], cluster: Cluster) -> list[Problem]:
    """Nodes whose address is answered for by a stranger: other nodes see a hardware address that is not the node's.

    A gateway may answer for every address (proxy ARP): that is no clash.
    """
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    own = {str(cluster.nodes[node].address): node for node, told in facts.items() if told.get("macs")}
    for witness, told in facts.items():
        seen = told.get("neighbours", {})
        for address, mac in seen.items():
            node = own.get(address)
            if node and mac not in facts[node]["macs"] and mac != seen.get(str(cluster.network.gateway)):
                found[node, mac].append(witness)
    return [_address_clash(node, mac, witnesses, facts, cluster) for (node, mac), witnesses in found.items()]


def _address_clash(
    node: str, mac: str, witnesses: Sequence[str], facts: Mapping[str, Mapping[str, Any]], cluster: Cluster
) -> Problem:
    cause = (
        f"{names(witnesses)} see{'s' if len(witnesses) == 1 else ''} its address {cluster.nodes[node].address} behind "
        f"{mac}, another machine's hardware address (its own: {', '.join(facts[node]['macs'])}): connections end there"
    )
    remedy = (
        f"find and stop that machine (on the Proxmox host: grep -ril {mac} /etc/pve), or give the node another "
        "address in pillar/cluster.sls"
    )
    return Problem(node, STEP, cause, remedy, code="address-clash")


# -- who reaches whom

PORTS = {2379: "etcd", 2380: "etcd", 4240: "Cilium", 4244: "Hubble", 7946: "MetalLB", 10250: "kubelet"}
OPEN_THEM = (
    "let them through in the firewall of the node (nft list ruleset) and of Proxmox (Firewall of datacenter, node and "
    "VM), and check VLAN and address; from the other node: nc -zv ADDRESS PORT, where 'refused' is well"
)

# (from, to) -> (ports, reason)
Ways = dict[tuple[str, str], tuple[tuple[int, ...], str]]


def blocked(unreached: Mapping[str, Sequence[Mapping[str, Any]]], cluster: Cluster) -> list[Problem]:
    """Ways between nodes that are blocked, by what they have in common: two nodes that do not reach each other, one
    that alone does not reach several, and else each node with all those that do not reach it.

    Args:
        unreached: node -> what it does not reach: [{node, port, reason}].
        cluster: the definition.
    """
    ways = _ways(unreached)
    sources = _sources(ways)
    pairs = [(a, b) for a, b in ways if a < b and sources[b] == [a] and sources.get(a) == [b]]
    both = {*pairs, *((b, a) for a, b in pairs)}
    left = {way: facts for way, facts in ways.items() if way not in both}
    sources, alone = _sources(left), dict[str, list[str]]()
    for target, its in sources.items():
        if len(its) == 1:
            alone.setdefault(its[0], []).append(target)
    outward = {source: targets for source, targets in alone.items() if len(targets) > 1}
    gone = {target for targets in outward.values() for target in targets}

    found = [_problem(f"{a}, {b}", [_mutual(ways[a, b], ways[b, a], cluster)]) for a, b in pairs]
    for node in cluster.nodes:
        causes = [_inward(node, sources[node], left, cluster)] if node in sources and node not in gone else []
        causes += [_outward(node, outward[node], left, cluster)] if node in outward else []
        found += [_problem(node, causes)] if causes else []
    return found


def _ways(unreached: Mapping[str, Sequence[Mapping[str, Any]]]) -> Ways:
    ways: Ways = {}
    for source, rows in unreached.items():
        for row in rows:
            ports, reason = ways.get((source, row["node"]), ((), row["reason"]))
            ways[source, row["node"]] = tuple(sorted((*ports, row["port"]))), reason
    return ways


def _sources(ways: Ways) -> dict[str, list[str]]:
    """Who does not reach a node."""
    found: dict[str, list[str]] = {}
    for source, target in ways:
        found.setdefault(target, []).append(source)
    return found


def _problem(node: str, causes: Sequence[str]) -> Problem:
    cause = f"{'; '.join(causes)}: the cluster's parts talk to each other there"
    return Problem(node, STEP, cause, OPEN_THEM, code="node-unreachable")


def _mutual(there: tuple[tuple[int, ...], str], back: tuple[tuple[int, ...], str], cluster: Cluster) -> str:
    ports = tuple(sorted({*there[0], *back[0]}))
    return f"no way between them to {_ports(ports, cluster)} ({there[1]})"


def _inward(target: str, sources: Sequence[str], ways: Ways, cluster: Cluster) -> str:
    """Who does not reach a node on which ports; those with the same ports together."""
    groups: dict[tuple[tuple[int, ...], str], list[str]] = defaultdict(list)
    for source in sources:
        groups[ways[source, target]].append(source)
    texts = (
        f"{_others(sources, target, cluster)} to its {_ports(ports, cluster)} ({reason})"
        for (ports, reason), sources in groups.items()
    )
    return f"no way from {'; '.join(texts)}"


def _others(sources: Sequence[str], target: str, cluster: Cluster) -> str:
    """Names, or what they are together, so that one cause on many nodes reads the same on each."""
    if len(sources) < ALL_FROM:
        return ", ".join(sources)
    kubernetes = {node.name for node in cluster.kubernetes_nodes}
    whole = {"every other node": set(cluster.nodes), "every other Kubernetes node": kubernetes}
    return next((text for text, nodes in whole.items() if set(sources) == nodes - {target}), ", ".join(sources))


def _outward(source: str, targets: Sequence[str], ways: Ways, cluster: Cluster) -> str:
    texts = (f"{target} on {_ports(ways[source, target][0], cluster)}" for target in targets)
    return f"no way from it to {'; '.join(texts)} ({ways[source, targets[0]][1]})"


def _ports(ports: Sequence[int], cluster: Cluster) -> str:
    """ "TCP ports 2379 (etcd), 6443 (API)"."""
    known = PORTS | {cluster.settings.api_port: "API"}
    texts = (f"{port} ({known[port]})" if port in known else str(port) for port in ports)
    return f"TCP port{'s' if len(ports) > 1 else ''} {', '.join(texts)}"
