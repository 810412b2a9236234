"""Which nodes may be restarted, which of them together, by which steps, and what is left to do.

Facts in, refusals, batches and steps out: no I/O here. Load balancers and control-plane nodes go one at a time, workers
by a share of the table's. A node is emptied as for a removal (:mod:`saltern.plan_remove`); a control-plane node goes
only while all others are whole, as for a replacement (:mod:`saltern.plan_replace`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from saltern import haproxy, plan, plan_remove, plan_replace
from saltern.plan import CONTROL_PLANE, LOAD_BALANCER, ROLES, WORKER, PlanError, Table
from saltern.plan_remove import drain_seconds, example, switch
from saltern.record import unfinished
from saltern.steps import Call, Problem, Step

STEP = "Restart"
REFUSED, NOT_RESTARTED, NOT_WHOLE = "restart-refused", "node-not-restarted", "restart-not-whole"
# Where the record of a run keeps its progress.
RECORDED = "restart"
PERCENTAGE = re.compile(r"^(\d{1,3})%$")
# A turn may be another node's for a while (_modules/turn.py, DEADLINE_S).
TURN_S = 1200.0


@dataclass(frozen=True)
class Request:
    """What the operator asks for, from the pillar of the call: nodes by name, by role, or all.

    Args:
        names: nodes; or
        roles: of the table; or
        everything: the whole table.
        upgrade: bring the operating system's packages to their newest versions before.
        share: how many workers at once: a number, or a percentage of the table's workers ("25%").
        confirmed: do it; else only say what would be done.
        anew: restart all of them, whatever an earlier run of the same request has done.
        drain_s: seconds that the pods of a node may take to move.
    """

    names: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    everything: bool = False
    upgrade: bool = False
    share: int | str = 1
    confirmed: bool = False
    anew: bool = False
    drain_s: int = plan_remove.DRAIN_S

    @classmethod
    def of(cls, pillar: Mapping[str, Any]) -> Request:
        """Read the pillar of the call. Raises PlanError that says what to type."""
        names = pillar.get("nodes") or ([pillar["node"]] if pillar.get("node") else [])
        roles, everything = pillar.get("roles") or [], switch(pillar, "all", REFUSED)
        said = [bool(names), bool(roles), everything]
        if said.count(True) != 1 or not _are_texts(names) or not _are_texts(roles):
            ways = ", or ".join(example(way) for way in ({"node": "NAME"}, {"roles": [WORKER]}, {"all": True}))
            raise PlanError(f"which nodes are to be restarted has to be said in one way: {ways}", REFUSED)
        if strange := [role for role in roles if role not in ROLES]:
            raise PlanError(f"{', '.join(strange)}: no role of the table; these are: {', '.join(ROLES)}", REFUSED)
        upgrade, confirmed, anew = (switch(pillar, key, REFUSED) for key in ("upgrade", "confirm", "anew"))
        return cls(
            tuple(dict.fromkeys(names)),
            tuple(dict.fromkeys(roles)),
            everything,
            upgrade,
            _share(pillar.get("share", 1)),
            confirmed,
            anew,
            drain_seconds(pillar, REFUSED),
        )

    def pillar(self, **more: Any) -> dict[str, Any]:
        """The pillar by which this request is made again, or goes on."""
        who: dict[str, Any] = {"all": True} if self.everything else {"roles": list(self.roles)}
        if self.names:
            who = {"node": self.names[0]} if len(self.names) == 1 else {"nodes": list(self.names)}
        how: dict[str, Any] = {"upgrade": True} if self.upgrade else {}
        how |= {} if self.share == 1 else {"share": self.share}
        how |= {} if self.drain_s == plan_remove.DRAIN_S else {"drain_timeout_s": self.drain_s}
        how |= {"anew": True} if self.anew and not self.confirmed else {}
        return who | how | more

    def of_table(self, table: Table) -> tuple[str, ...]:
        """Who that is, in table order. Raises PlanError for names that have no row, and when it is nobody."""
        if self.names:
            if unknown := [name for name in self.names if name not in table.all]:
                text = f"{', '.join(unknown)}: the table has no such row: salt-run cluster.status names the nodes"
                raise PlanError(text, REFUSED)
            return tuple(name for name in table.all if name in self.names)
        chosen = ROLES if self.everything else self.roles
        names = tuple(name for role in ROLES if role in chosen for name in table.of_role(role))
        if not names:
            raise PlanError(f"the table has no node of the role {', '.join(chosen)}", REFUSED)
        return names

    def at_once(self, workers: int) -> int:
        """How many workers go together, of those that the table has: a percentage is rounded down, but never to 0."""
        if isinstance(self.share, int):
            return self.share
        return max(1, workers * int(self.share.rstrip("%")) // 100)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _share(value: Any) -> int | str:
    """A number of workers from 1, or a percentage from 1 to 100. Raises PlanError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    found = PERCENTAGE.match(value) if isinstance(value, str) else None
    if found and 1 <= int(found[1]) <= 100:
        return f"{int(found[1])}%"
    text = f"share is {value!r}: write how many workers may be away at once, as a number (2) or a percentage"
    raise PlanError(f'{text} ("25%")', REFUSED)


@dataclass(frozen=True)
class Progress:
    """How far a rolling restart is, as its record keeps it for the run that goes on.

    Args:
        boots: node -> its boot at the beginning (``os_restart.boot``), or when its restart was ordered: another one
            now, and it was restarted.
        upgrade: whether packages are upgraded before each restart.
        ordered: node whose restart was about to be ordered -> what ran on it (``kube_restart.before``).
        done: the nodes that were restarted and serve again.
        since: when the run that began it did; "" for one that has not gone on from another.
    """

    boots: Mapping[str, str]
    upgrade: bool = False
    ordered: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    done: tuple[str, ...] = ()
    since: str = ""

    @classmethod
    def resumed(
        cls, runs: Iterable[Mapping[str, Any]], names: Sequence[str], upgrade: bool, anew: bool
    ) -> Progress | None:
        """What the last run that changed anything for the same request left; None when that ended well.

        Args:
            runs: the records, newest first.
            names: who is to be restarted.
            upgrade: whether packages are to be upgraded: what was restarted without is not done with.
            anew: nothing of before counts.
        """

        def belongs(kept: Mapping[str, Any]) -> bool:
            return set(kept["boots"]) == set(names) and kept["upgrade"] == upgrade

        kept = None if anew else unfinished(runs, RECORDED, belongs)
        if kept is None:
            return None
        return cls(kept["boots"], kept["upgrade"], kept["ordered"], tuple(kept["done"]), kept["since"])

    @property
    def data(self) -> dict[str, Any]:
        """What the record keeps of it."""
        told = {"boots": dict(self.boots), "upgrade": self.upgrade, "ordered": dict(self.ordered)}
        return told | {"done": list(self.done), "since": self.since}

    def left(self, names: Sequence[str]) -> tuple[str, ...]:
        """The names without those that are done."""
        return tuple(name for name in names if name not in self.done)

    def under_way(self, name: str, boot: str | None) -> bool:
        """Whether a node has been restarted since the beginning, or is about to come back; it is only waited for.

        Args:
            name: the node.
            boot: its boot now; None while it does not answer.
        """
        if boot is None or self.upgrade:
            return name in self.ordered and boot != self.boots[name]
        return boot != self.boots[name]

    def ordering(self, boots: Mapping[str, str], facts: Mapping[str, Mapping[str, Any]]) -> Progress:
        """The same with more nodes whose restart is ordered next.

        Args:
            boots: their boots now: one may have restarted by itself meanwhile.
            facts: what ``kube_restart.before`` gave of them.
        """
        return replace(self, boots=dict(self.boots) | dict(boots), ordered=dict(self.ordered) | dict(facts))

    def with_done(self, names: Sequence[str]) -> Progress:
        """The same with more nodes done."""
        return replace(self, done=(*self.done, *names))


@dataclass(frozen=True)
class Picture:
    """What is known of nodes that are to be restarted.

    Args:
        table: who is in the table.
        names: who is to be restarted, in table order.
        source: the control-plane node that is asked for everything.
        standing: node of Kubernetes -> what ``kube_node.standing`` reports.
        status: control-plane node -> what ``kubeadm.status`` reports there, of those that answer.
        members: etcd's members as ``etcd_member.standing`` reports them.
        silent: whose minion does not answer.
    """

    table: Table
    names: tuple[str, ...]
    source: str = ""
    standing: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    status: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    members: Sequence[Mapping[str, Any]] = ()
    silent: frozenset[str] = frozenset()

    @property
    def in_kubernetes(self) -> tuple[str, ...]:
        """Those of the names that the cluster has Nodes of."""
        return tuple(name for name in self.names if name in self.table.kubernetes)

    @property
    def control_plane(self) -> tuple[str, ...]:
        """The control-plane nodes among the names."""
        return tuple(name for name in self.names if name in self.table.control_plane)


def role_of(table: Table, name: str) -> str:
    """The role of a node of the table."""
    return next(role for role in ROLES if name in table.of_role(role))


def batches(table: Table, names: Sequence[str], at_once: int) -> list[tuple[str, ...]]:
    """Who is away together, in order.

    Args:
        table: the table.
        names: who is to be restarted.
        at_once: how many workers.
    """
    alone = [(name,) for name in names if name not in table.workers]
    workers = [name for name in names if name in table.workers]
    return alone + [tuple(workers[first : first + at_once]) for first in range(0, len(workers), at_once)]


def unwell_first(picture: Picture) -> tuple[str, ...]:
    """The names, those first that are out already: a control-plane node that is not whole, one that a killed run left.

    Within a role: the order of roles stays.
    """
    broken = lacking(picture, picture.control_plane)

    def rank(name: str) -> tuple[int, bool]:
        out = name in broken or bool(picture.standing.get(name, {}).get("unschedulable"))
        return ROLES.index(role_of(picture.table, name)), not out

    return tuple(sorted(picture.names, key=rank))


def lacking(picture: Picture, names: Sequence[str]) -> dict[str, str]:
    """What control-plane nodes lack to be whole, {} when they are: also of the Node, which restarts need."""
    found = plan_replace.missing(names, picture.status, picture.members)
    unready = {
        name: f"is not Ready ({facts['reason']})" for name, facts in picture.standing.items() if not facts["ready"]
    }
    return {name: found.get(name) or unready[name] for name in names if name in found or name in unready}


def refusals(picture: Picture, order: Sequence[str]) -> list[Problem]:
    """Everything that forbids this restart, [] when nothing does.

    Args:
        picture: the nodes that are to be restarted, and the control plane as it is.
        order: all that are left; each may count on those before it, which are whole by then.
    """
    found = [
        *_silent(picture),
        *_unusable(picture),
        *_not_whole(picture, order),
        *plan_remove.learning(picture.control_plane, picture.members),
    ]
    return [replace(problem, step=STEP, code=REFUSED) for problem in found]


def _silent(picture: Picture) -> Iterator[Problem]:
    for name in picture.names:
        if name in picture.silent:
            remedy = f"salt {name} test.ping; off: salt-cloud -a start {name}; beyond mending: orchestrate.node_replace"
            yield Problem(name, STEP, "its minion does not answer, so nothing can be asked of it", remedy, code=REFUSED)


def _unusable(picture: Picture) -> Iterator[Problem]:
    """Nodes that cannot be emptied: not of the cluster, their kubelet silent, with pods that nothing makes again."""
    for name in picture.in_kubernetes:
        facts = picture.standing[name]
        if not facts["registered"]:
            remedy = f"salt-run state.orchestrate orchestrate.node_add {example({'node': name})}"
            yield Problem(name, STEP, "it has not joined the cluster", remedy, code=REFUSED)
        elif not facts["ready"]:
            cause = f"is not Ready ({facts['reason']}): its pods cannot be moved"
            remedy = f"salt {name} state.apply; or restart it by hand, its pods with it: salt {name} os_restart.order"
            yield Problem(name, STEP, cause, remedy, code=REFUSED)
        else:
            yield from plan_remove.lonely_pods(name, facts)


def _not_whole(picture: Picture, order: Sequence[str]) -> Iterator[Problem]:
    """No control-plane node goes while another one is out, and no worker while one is: nobody would move its pods."""
    for name in picture.control_plane:
        before = order[: order.index(name)]
        others = [other for other in picture.table.control_plane if other != name and other not in before]
        yield from plan_replace.two_out(name, lacking(picture, others))
    if workers := [name for name in picture.in_kubernetes if name not in picture.control_plane]:
        broken = lacking(picture, [name for name in picture.table.control_plane if name not in order])
        what, then = "the control plane", "first that, then workers"
        yield from plan_replace.two_out(", ".join(workers), broken, what, then)


def departure(picture: Picture, upgrade: bool, upgrade_s: float, drain_s: int) -> list[Step]:
    """The steps before a batch's restart is ordered. When one fails, the nodes that it cordoned take pods again.

    HAProxy is told last: what it sends elsewhere has an end of its own, which must not come before the restart.

    Args:
        picture: of the batch.
        upgrade: bring the packages to their newest versions.
        upgrade_s: seconds that this may take on a node.
        drain_s: seconds that the pods of a node may take to move.
    """
    emptied = _emptied(picture, drain_s)
    drained = tuple(step.key for step in emptied if not step.undo and step.key != "cordoned")
    call, title = Call("os_package.upgrade"), f"Upgrade of packages on {', '.join(picture.names)}"
    upgraded = [Step("upgraded", title, picture.names, call, after=drained, deadline_s=upgrade_s)] if upgrade else []
    before = tuple(step.key for step in upgraded) or drained
    noted = [_noted(picture.source, name, before) for name in picture.in_kubernetes]
    turn = _turn(picture, tuple(step.key for step in noted))
    return [*emptied, *upgraded, *noted, *turn, *_directed_elsewhere(picture)]


def _emptied(picture: Picture, drain_s: int) -> list[Step]:
    names, source = picture.in_kubernetes, picture.source
    if not names:
        return []
    drains = [replace(plan_remove.drained_step(source, name, drain_s), after=("cordoned",)) for name in names]
    return [plan_remove.cordoned(source, names), *drains, plan_remove.cordons_given_back(source, names)]


def _noted(source: str, name: str, after: tuple[str, ...]) -> Step:
    call = Call("kube_restart.before", kwarg={"name": name})
    return Step(f"noted {name}", f"What stays on {name}", (source,), call, after=after, deadline_s=plan.QUICK_S)


def _turn(picture: Picture, after: tuple[str, ...]) -> list[Step]:
    """A control-plane node restarts in its turn: no ``state.apply`` restarts a part of another one meanwhile."""
    nodes = picture.control_plane
    if not nodes:
        return []
    take = Call("turn.take", kwarg={"reason": "restart of the node"})
    taken = Step("turn taken", f"Turn of {nodes[0]}", nodes, take, after=after, deadline_s=TURN_S + plan.QUICK_S)
    return [taken, replace(turn_given_back(nodes[0]), after=("turn taken",), undo=True)]


def turn_given_back(name: str) -> Step:
    """A control-plane node has its turn no more."""
    give = Call("turn.give_back")
    return Step("turn given back", f"Turn of {name} given back", (name,), give, deadline_s=plan.QUICK_S)


def _directed_elsewhere(picture: Picture) -> list[Step]:
    """The load balancers send an API server that goes no new connection: their checks would find out seconds late."""
    nodes, balancers = picture.control_plane, picture.table.load_balancers
    if not nodes or not balancers:
        return []
    call = Call("haproxy_drain.drain", (haproxy.SOCKET,), {"names": list(nodes)})
    title = f"HAProxy sends nothing new to {', '.join(nodes)}"
    elsewhere = Step("directed elsewhere", title, balancers, call, after=("turn taken",), deadline_s=plan.QUICK_S)
    return [elsewhere, replace(directed_back(balancers, nodes), after=("directed elsewhere",), undo=True)]


def directed_back(balancers: tuple[str, ...], names: Sequence[str]) -> Step:
    """The load balancers may send API servers new connections again, as soon as their checks say that these are well.

    Args:
        balancers: the load balancers.
        names: the API servers' nodes.
    """
    call = Call("haproxy_drain.resume", (haproxy.SOCKET,), {"names": list(names)})
    title = f"HAProxy sends to {', '.join(names)} again"
    return Step("directed back", title, balancers, call, deadline_s=plan.QUICK_S)


def ordered(names: tuple[str, ...]) -> Step:
    """The nodes restart once their answers have left them."""
    title = f"Restart of {', '.join(names)} ordered"
    return Step("ordered", title, names, Call("os_restart.order"), deadline_s=plan.QUICK_S)


def taken_back(source: str, name: str, facts: Mapping[str, Any], deadline_s: int) -> Step:
    """A node that was restarted serves again, and takes pods.

    Args:
        source: the control-plane node that is asked.
        name: the node.
        facts: what ``kube_restart.before`` gave; {} for one that was restarted by somebody else.
        deadline_s: seconds.
    """
    call = Call("kube_restart.take_back", kwarg={"name": name, **facts, "deadline_s": deadline_s})
    title = f"{name}: Ready, Cilium and its pods"
    return Step(f"taken back {name}", title, (source,), call, deadline_s=deadline_s + plan.QUICK_S)


def cost(table: Table, name: str) -> str:
    """What is away while a node that has nobody beside it restarts; "" for one that has."""
    role = role_of(table, name)
    if table.of_role(role) != (name,):
        return ""
    return {
        LOAD_BALANCER: "it is the only load balancer: until it is back nobody reaches the API, pods and services go on",
        CONTROL_PLANE: "it is the only control-plane node: until it is back there is no API, pods and services go on",
        WORKER: "it is the only worker: its pods have no other place until it is back",
    }[role]
