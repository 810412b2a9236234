"""Which nodes may be replaced, in which order, and what is left to do: from the definition, the cluster, the record.

Facts in, refusals and order out: no I/O here. A replacement is a removal (:mod:`saltern.plan_remove`) and an addition
(:mod:`saltern.plan_add`) of the same name and address. What differs: the row stays, and nodes go one at a time, a
control-plane node only while all others are whole. So etcd never has more than one member less.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from saltern import haproxy, plan, plan_remove
from saltern.plan import CONTROL_PLANE, JOINED, LOAD_BALANCER, PREPARED, READY, PlanError, Table
from saltern.plan_remove import Leaving, Picture, example, switch
from saltern.record import unfinished
from saltern.steps import Call, Problem, Step

STEP = "Replacement"
REFUSED = "replacement-refused"
NOT_WHOLE = "replacement-not-whole"
# Where the record of a run keeps its progress.
RECORDED = "replacement"
# An API server that is ready is asked every 0.5 s until HAProxy believes it. Room for a loaded machine. Seconds.
UP_S = 60

# As saltern.plan.ORDER, for one load balancer.
BALANCER_ORDER: plan.Order = {
    "balancers prepared": (PREPARED, ()),
    "authority read": (JOINED, ()),
    "authority trusted": (JOINED, ("balancers prepared", "authority read")),
    "servers up": (READY, ("authority trusted",)),
}


@dataclass(frozen=True)
class Request(plan_remove.Request):
    """What the operator asks for, as for a removal.

    Args:
        force: go on without what a dead node, or the only one of its role, would be needed for.
        anew: replace all of them, whatever an earlier run of the same request has done.
    """

    what: ClassVar[str] = "replaced"
    code: ClassVar[str] = REFUSED

    anew: bool = False

    @classmethod
    def of(cls, pillar: Mapping[str, Any]) -> Self:
        """Read the pillar of the call. Raises PlanError that says what to type."""
        return replace(super().of(pillar), anew=switch(pillar, "anew", REFUSED))

    def pillar(self, **more: Any) -> dict[str, Any]:
        """The pillar by which this request is made again, or goes on."""
        return super().pillar(**({"anew": True} if self.anew and not self.confirmed else {}), **more)


def require_rows(table: Table, names: Sequence[str]) -> None:
    """Each name has a row, which says what machine comes. Raises PlanError that names those without."""
    unknown = [name for name in names if name not in table.all]
    if unknown:
        text = f"{', '.join(unknown)}: the table has no such row, so nobody knows what should come: "
        raise PlanError(
            f"{text}salt-run cluster.status names the nodes; to remove one: orchestrate.node_remove", REFUSED
        )


@dataclass(frozen=True)
class Progress:
    """How far a replacement is, as its record keeps it for the run that goes on.

    Each machine gets a minion key of its own before it exists, and loses it when it is destroyed: so a key tells
    whether the machine of a name is the old one. Proxmox's number does not: it is given away again.

    Args:
        machines: node -> fingerprint of the key that its machine had at the beginning; None: it had none.
        done: the nodes that have been replaced.
        since: when the run that began it did; "" for one that has not gone on from another.
    """

    machines: Mapping[str, str | None]
    done: tuple[str, ...] = ()
    since: str = ""

    @classmethod
    def begun(cls, names: Sequence[str], keys: Mapping[str, str]) -> Progress:
        """The beginning: nothing is done, the keys are those of today."""
        return cls({name: fingerprint(keys.get(name)) for name in names})

    @classmethod
    def resumed(cls, runs: Iterable[Mapping[str, Any]], request: Request) -> Progress | None:
        """What the last run that changed anything for the same request left; None when that ended well.

        Args:
            runs: the records, newest first. Those of runs that were refused keep no progress, and do not count.
            request: what is asked for now.
        """
        if request.anew:
            return None
        kept = unfinished(runs, RECORDED, lambda kept: set(kept["machines"]) == set(request.names))
        return cls(kept["machines"], tuple(kept["done"]), kept["since"]) if kept else None

    @property
    def data(self) -> dict[str, Any]:
        """What the record keeps of it."""
        return {"machines": dict(self.machines), "done": list(self.done), "since": self.since}

    def renewed(self, name: str, keys: Mapping[str, str]) -> bool:
        """Whether the old machine is gone and a new one is there, or was begun."""
        now = fingerprint(keys.get(name))
        return now is not None and now != self.machines[name]

    def with_done(self, name: str) -> Progress:
        """The same with one more node done."""
        return replace(self, done=(*self.done, name))


def fingerprint(public_key: str | None) -> str | None:
    """What tells one key (PEM) from another, short enough to be read."""
    return hashlib.sha256(public_key.strip().encode()).hexdigest()[:16] if public_key else None


def in_order(picture: Picture) -> tuple[str, ...]:
    """The names in the order of the request, but first those that are out already: no second one goes while one is."""
    answering = {member["name"] for member in picture.members if member["healthy"]}

    def is_well(node: Leaving) -> bool:
        return node.runs and not node.dead and (node.role != CONTROL_PLANE or node.name in answering)

    return tuple(node.name for node in sorted(picture.leaving, key=is_well))


def refusals(picture: Picture, force: bool, order: Sequence[str]) -> list[Problem]:
    """Everything that forbids this replacement, [] when nothing does.

    Args:
        picture: the nodes whose machines are to go, and the control plane as it is.
        force: as in :class:`Request`.
        order: all that are to be replaced; each may count on those before it, which are whole by then.
    """
    found = [
        *_irreplaceable(picture, force),
        *_two_out(picture, order),
        *plan_remove.learning([node.name for node in picture.control_plane], picture.members),
        *plan_remove.unwilling(picture, force),
    ]
    return [replace(problem, step=STEP, code=REFUSED) for problem in found]


def _irreplaceable(picture: Picture, force: bool) -> Iterator[Problem]:
    """The only one of its role: without a control-plane node the cluster is gone, without another one service is."""
    for node in picture.leaving:
        if picture.table.of_role(node.role) != (node.name,):
            continue
        if node.role == CONTROL_PLANE:
            cause = "it is the only control-plane node: the cluster would go with it"
            remedy = "add two rows first (docs/operations.md), or make the cluster anew: orchestrate.cluster_rebuild"
            yield Problem(node.name, STEP, cause, remedy, code=REFUSED)
        elif not force:
            remedy = f"add another row first, or bear it: {example({'node': node.name, 'force': True})}"
            yield Problem(node.name, STEP, cost_of_only(node), remedy, code=REFUSED)


def cost_of_only(node: Leaving) -> str:
    """What is away while the only load balancer or worker is."""
    if node.role == LOAD_BALANCER:
        return "it is the only load balancer: until the new one runs nobody reaches the API, pods and services go on"
    return "it is the only worker: its pods have no other place until the new one is Ready"


def _two_out(picture: Picture, order: Sequence[str]) -> Iterator[Problem]:
    for node in picture.control_plane:
        before = order[: order.index(node.name)] if node.name in order else ()
        others = [name for name in picture.table.control_plane if name != node.name and name not in before]
        yield from two_out(node.name, missing(others, picture.status, picture.members))


def two_out(
    name: str, broken: Mapping[str, str], what: str = "the rest of the control plane", then: str = "two would be out"
) -> Iterator[Problem]:
    """Why a node may not go: control-plane nodes are out already.

    Args:
        name: the node.
        broken: what they lack, as :func:`missing` gives it.
        what: which control-plane nodes these were to be.
        then: what it would lead to.
    """
    if broken:
        told = "; ".join(f"{other} {why}" for other, why in broken.items())
        cause = f"{what} is not whole ({told}): {then}"
        remedy = f"mend or replace first: {', '.join(broken)} (salt {next(iter(broken))} kubeadm.status)"
        yield Problem(name, STEP, cause, remedy, code=REFUSED)


def missing(
    names: Collection[str], status: Mapping[str, Mapping[str, Any]], members: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """What control-plane nodes lack to be whole: {node: a phrase}, {} when they are.

    Args:
        names: the nodes.
        status: node -> what ``kubeadm.status`` reports there, of those that answer.
        members: as ``etcd_member.standing`` reports them.
    """
    voting = {member["name"]: bool(member["healthy"]) for member in members if not member["learner"]}
    found = {name: _lack(status.get(name), voting.get(name)) for name in names}
    return {name: why for name, why in found.items() if why}


def _lack(status: Mapping[str, Any] | None, etcd_answers: bool | None) -> str:
    if status is None:
        return "does not answer"
    if not status.get("healthy"):
        return f"is not healthy ({'; '.join(status.get('unhealthy') or ['not a member of the cluster'])})"
    if etcd_answers is None:
        return "is no voting member of etcd"
    return "" if etcd_answers else "does not answer as a member of etcd"


def balancer_steps(name: str, source: str, sharing: bool = False) -> list[Step]:
    """The steps by which a new machine becomes the load balancer that the old one was.

    Args:
        name: the load balancer.
        source: a control-plane node, for the cluster's CA.
        sharing: whether it shares an address with others.
    """
    table = Table(load_balancers=(name,), sharing=sharing)
    prepared = plan.balancers_prepared(plan.Picture(table))
    return plan.arranged([prepared, *plan.authority_trusted(table, source), up_step((name,))], BALANCER_ORDER)


def up_step(balancers: tuple[str, ...], names: Sequence[str] = ()) -> Step:
    """The load balancers send requests to API servers: to each of these, or to any when none is named."""
    call = Call("haproxy.wait_up", (haproxy.SOCKET,), {"names": list(names), "deadline_s": UP_S})
    title = f"HAProxy sends requests to {', '.join(names) or 'an API server'}"
    return Step("servers up", title, balancers, call, deadline_s=UP_S + plan.QUICK_S)
