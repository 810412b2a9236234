"""Which nodes may be added to a running cluster, and by which steps: decided from the definition and what nodes report.

Facts in, refusals and steps out: no I/O here. A step asks the new nodes, one control-plane node, and those that must
know of a new node: the load balancers that send it something, the control plane that has to know its name. Every other
node is left in peace, so that the cost of a worker does not grow with the cluster.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from saltern import plan
from saltern.plan import JOINED, PREPARED, READY, PlanError, Table
from saltern.steps import Problem, Step

STEP = "Addition"
CODE = "addition-refused"
# How long an addition waits behind another operation on the cluster, where the operator does not say. Seconds.
WAIT_S = 3600

# As saltern.plan.ORDER, for a cluster that runs. Join material is made while the nodes are prepared. A load balancer is
# told once the new API server is there to be asked.
ORDER: plan.Order = {
    "control plane prepared": (PREPARED, ()),
    "workers prepared": (PREPARED, ()),
    "material": (JOINED, ()),
    "control plane joined": (JOINED, ("material", "control plane prepared")),
    "workers joined": (JOINED, ("material", "workers prepared")),
    "material revoked": (JOINED, ("material", "control plane joined", "workers joined")),
    "balancers told": (JOINED, ("control plane joined", "workers joined")),
    "names told": (JOINED, ("control plane joined",)),
    "network taken up": (READY, ("control plane joined", "workers joined")),
    "nodes ready": (READY, ("control plane joined", "workers joined")),
    "nodes marked": (READY, ("control plane joined", "workers joined")),
}


@dataclass(frozen=True)
class Request:
    """What is asked for, from the pillar of the call.

    Args:
        names: the nodes to add, each once, in the order given.
        automatic: a reactor asks, because machines were made: what it names is one of them, or none.
        turn: file descriptor of the turn (:class:`saltern.arrivals.Turn`) that the asking process handed over.
        wait_s: seconds that it may wait behind another operation on the cluster.
    """

    names: tuple[str, ...]
    automatic: bool = False
    turn: int | None = None
    wait_s: int = WAIT_S

    @classmethod
    def of(cls, pillar: Mapping[str, Any]) -> Request:
        """Read the pillar of the call. Raises PlanError that says what to type."""
        names = pillar.get("nodes") or ([pillar["node"]] if pillar.get("node") else [])
        automatic = pillar.get("automatic") is True
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not (names or automatic):
            text = f"which node is to be added is not said: write {example({'node': 'NAME'})} or "
            text += f"{example({'nodes': ['NAME', 'NAME']})}; all of the table: orchestrate.cluster"
            raise PlanError(text, CODE)
        wait_s = pillar.get("wait_s", WAIT_S)
        if not isinstance(wait_s, int) or isinstance(wait_s, bool) or wait_s < 0:
            raise PlanError(f"wait_s is {wait_s!r}: write a number of seconds, e.g. {WAIT_S}; 0 waits for nobody", CODE)
        turn = pillar.get("turn")
        return cls(tuple(dict.fromkeys(names)), automatic, turn if isinstance(turn, int) else None, wait_s)

    @property
    def pillar(self) -> dict[str, Any]:
        """The pillar by which an operator makes this request again."""
        return {"node": self.names[0]} if len(self.names) == 1 else {"nodes": list(self.names)}


def example(pillar: Mapping[str, Any]) -> str:
    """What is typed behind the name of the orchestration."""
    return f"pillar='{json.dumps(dict(pillar))}'"


@dataclass(frozen=True)
class Picture:
    """What is known when an addition is planned.

    Args:
        table: the whole table.
        names: who is to be added.
        source: the healthy control-plane node that is asked for everything.
        status: node -> what ``kubeadm.status`` reports, of the named nodes and of the control plane if it answers.
        public_keys: minion ID -> public key (PEM) as the master has accepted it.
        members: etcd's members as ``etcd_member.standing`` reports them; only asked for a control-plane node.
        addresses: node -> address, of the table.
        ingress: whether load balancers send requests to workers too.
    """

    table: Table
    names: tuple[str, ...]
    source: str
    status: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    public_keys: Mapping[str, str] = field(default_factory=dict)
    members: Sequence[Mapping[str, Any]] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)
    ingress: bool = False

    @property
    def control_plane(self) -> tuple[str, ...]:
        """The named control-plane nodes, in table order."""
        return tuple(name for name in self.table.control_plane if name in self.names)

    @property
    def workers(self) -> tuple[str, ...]:
        """The named workers, in table order."""
        return tuple(name for name in self.table.workers if name in self.names)

    @property
    def newcomers(self) -> plan.Picture:
        """The picture of the new nodes alone, for the steps that a bring-up has as well."""
        table = Table(control_plane=self.control_plane, workers=self.workers)
        return plan.Picture(table, {name: self.status.get(name, {}) for name in self.names}, self.public_keys)


def name_problems(table: Table, names: Sequence[str]) -> Iterator[Problem]:
    """Why nodes of these names cannot be added, whatever state the cluster is in."""
    for name in names:
        if name in table.load_balancers:
            cause = "is a load balancer: it is no node of Kubernetes"
            yield Problem(name, STEP, cause, "salt-run state.orchestrate orchestrate.cluster prepares it", code=CODE)
        elif name not in table.all:
            cause = "has no row in the table, so nobody knows its role and its address"
            remedy = f"salt-cloud -p worker {name} makes a machine and its row; or add a row to pillar/cluster.sls"
            yield Problem(name, STEP, cause, remedy, code=CODE)


def refusals(picture: Picture) -> list[Problem]:
    """Why a control-plane node must not be added now: etcd changes one member at a time, when all others are well."""
    new = [name for name in picture.control_plane if not picture.newcomers.is_member(name)]
    if not new:
        return []
    problems = [*_broken_off(picture), *_joining(picture), *_silent(picture)]
    return [Problem(", ".join(new), STEP, cause, remedy, code=CODE) for cause, remedy in problems]


def _broken_off(picture: Picture) -> Iterator[tuple[str, str]]:
    for name in picture.table.control_plane:
        verb = picture.status.get(name, {}).get("unfinished")
        if verb and name not in picture.names:
            cause = f"the {verb} of {name} has begun and not ended: etcd may have it half a member"
            yield cause, f"end that first: salt-run state.orchestrate orchestrate.node_add {example({'node': name})}"


def _joining(picture: Picture) -> Iterator[tuple[str, str]]:
    own = {f"//{picture.addresses[name]}:" for name in picture.names if name in picture.addresses}
    for member in picture.members:
        urls = ", ".join(member["peer_urls"])
        if any(address in urls for address in own) or not (member["learner"] or not member["name"]):
            continue  # a voting member, or what an earlier try of this very addition left: the join clears that up
        cause = f"{member['name'] or urls} is no voting member of etcd yet: another node is joining, or broke off"
        yield cause, "wait until it has joined (salt-run cluster.status); one that never will: orchestrate.node_remove"


def _silent(picture: Picture) -> Iterator[tuple[str, str]]:
    voting = [member for member in picture.members if member["name"] and not member["learner"]]
    silent = sorted(member["name"] for member in voting if not member["healthy"])
    if silent:
        needed = (len(voting) + 1) // 2 + 1
        cause = f"etcd is unhealthy: of {len(voting)} members {', '.join(silent)} does not answer; "
        cause += f"with one more {needed} would have to"
        yield cause, f"bring back or replace what is silent first: salt {silent[0]} kubeadm.status"


def steps(picture: Picture) -> list[Step]:
    """The steps by which the named nodes become members; those of them that are members already are only looked at."""
    newcomers = picture.newcomers
    new, _ = newcomers.split(picture.control_plane)
    new_workers, _ = newcomers.split(picture.workers)
    ready = plan.nodes_ready(newcomers, picture.source)
    wanted = [
        plan.sls_step(newcomers, "control plane prepared", "Preparation of control-plane nodes", new, plan.NODE_SLS),
        plan.sls_step(newcomers, "workers prepared", "Preparation of workers", new_workers, plan.NODE_SLS),
        *plan.joins(newcomers, picture.source),
        *_told(picture),
        plan.network_taken_up(newcomers, picture.names),
        replace(ready, title=f"Ready: {', '.join(picture.names)}") if len(picture.names) == 1 else ready,
        plan.nodes_marked(newcomers, picture.source),
    ]
    return plan.arranged(wanted, ORDER)


def _told(picture: Picture) -> list[Step]:
    """Those that must know: who sends the new nodes something, and who has their names in its hosts file."""
    newcomers, table = picture.newcomers, picture.table
    concerned = bool(picture.control_plane) or (picture.ingress and bool(picture.workers))
    balancers = table.load_balancers if concerned else ()
    members = tuple(name for name in table.control_plane if name in picture.status and name not in picture.names)
    sls = ["haproxy", *(["os.hosts"] if picture.control_plane else [])]
    told = plan.sls_step(newcomers, "balancers told", "Load balancers send it requests", balancers, sls)
    named = members if picture.control_plane else ()
    return [
        replace(told, one_at_a_time=True, reason="a configuration that is wrong must not reach them all"),
        plan.sls_step(newcomers, "names told", "Name in the control plane's hosts files", named, ["os.hosts"]),
    ]
