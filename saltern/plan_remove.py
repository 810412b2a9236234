"""Which nodes may leave a cluster, and by which steps: decided from the definition and what the cluster reports.

Facts in, refusals and steps out: no I/O here. The order leaves nothing behind that a second run would not find: the
Node and the row, by which a name is known as the cluster's, go last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar, Self

from saltern.plan import CONTROL_PLANE, LOAD_BALANCER, WORKER, PlanError, Table, apply_call
from saltern.steps import Call, Problem, Step

STEP = "Removal"
REFUSED = "removal-refused"  # the runbook of all that forbids one
# The stages of orchestrate.node_remove that ask nodes; between the last two the machines are destroyed.
EMPTIED, DISMISSED, FORGOTTEN = "emptied", "dismissed", "forgotten"
# How long pods may take to move, where the operator does not say. Seconds.
DRAIN_S = 300
QUICK_S = 120.0
# Whose row is in which file: the operator's own, one that the product wrote, none.
OWN, WRITTEN, NONE = "own", "written", "none"


@dataclass(frozen=True)
class Request:
    """What the operator asks for, from the pillar of the call.

    Args:
        names: the nodes to remove, each once, in his order.
        confirmed: do it; else only say what would be done.
        force: some of them are dead: skip what needs the node.
        drain_s: seconds that the pods of a node may take to move.
    """

    what: ClassVar[str] = "removed"
    code: ClassVar[str] = REFUSED

    names: tuple[str, ...]
    confirmed: bool = False
    force: bool = False
    drain_s: int = DRAIN_S

    @classmethod
    def of(cls, pillar: Mapping[str, Any]) -> Self:
        """Read the pillar of the call. Raises PlanError that says what to type."""
        names = pillar.get("nodes") or ([pillar["node"]] if pillar.get("node") else [])
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            text = f"which node is to be {cls.what} is not said: add {example({'node': 'NAME'})}"
            raise PlanError(text, cls.code)
        confirmed, force = switch(pillar, "confirm", cls.code), switch(pillar, "force", cls.code)
        return cls(tuple(dict.fromkeys(names)), confirmed, force, drain_seconds(pillar, cls.code))

    def pillar(self, **more: Any) -> dict[str, Any]:
        """The pillar by which this request is made again."""
        who: dict[str, Any] = {"node": self.names[0]} if len(self.names) == 1 else {"nodes": list(self.names)}
        drain = {} if self.drain_s == DRAIN_S else {"drain_timeout_s": self.drain_s}
        return who | ({"force": True} if self.force else {}) | drain | more


def switch(pillar: Mapping[str, Any], key: str, code: str = REFUSED) -> bool:
    """A switch of the pillar: true, false or absent. Raises PlanError for a text that only looks like one."""
    value = pillar.get(key, False)
    if not isinstance(value, bool):
        raise PlanError(f'{key} is {value!r}, which is neither true nor false: write {{"{key}": true}}', code)
    return value


def drain_seconds(pillar: Mapping[str, Any], code: str = REFUSED) -> int:
    """How long the pods of a node may take to move. Raises PlanError for what is no number of seconds."""
    drain_s = pillar.get("drain_timeout_s", DRAIN_S)
    if not isinstance(drain_s, int) or isinstance(drain_s, bool) or drain_s <= 0:
        raise PlanError(f"drain_timeout_s is {drain_s!r}: write a number of seconds, e.g. {DRAIN_S}", code)
    return drain_s


def example(pillar: Mapping[str, Any]) -> str:
    """A pillar as it is typed on the command line."""
    return f"pillar='{json.dumps(pillar)}'"


@dataclass(frozen=True)
class Leaving:
    """A node that is to leave.

    Args:
        name, role, address: of its row; without a row, as the cluster knows it.
        row: OWN, WRITTEN or NONE.
        row_at: file and line of its row.
        facts: as ``kube_node.standing`` reports them.
        machine: as salt-cloud lists it ({id, state}); None when Proxmox has none of that name.
        answers: whether its minion answers; only asked of one that has no machine.
        left: what an unfinished create has left of it, as phrases.
    """

    name: str
    role: str
    address: str = ""
    row: str = OWN
    row_at: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] | None = None
    answers: bool = False
    left: Sequence[str] = ()

    @property
    def registered(self) -> bool:
        """Whether the cluster has a Node of this name."""
        return bool(self.facts.get("registered"))

    @property
    def dead(self) -> bool:
        """Whether its kubelet does not report, or cannot: what needs the node cannot be done.

        A machine that has just gone off counts as Ready for most of a minute more.
        """
        return self.registered and (not self.facts["ready"] or not self.runs)

    @property
    def runs(self) -> bool:
        """Whether its machine is there and switched on."""
        return self.machine is not None and self.machine.get("state") == "running"


@dataclass(frozen=True)
class Picture:
    """What is known when a removal is planned.

    Args:
        table: who is in the table.
        leaving: who is to leave.
        source: the healthy control-plane node that stays and is asked for everything.
        members: etcd's members as ``etcd_member.standing`` reports them.
        balancers: load balancer that stays -> its HAProxy settings without the servers that leave; only of those that
            have such servers.
        status: control-plane node -> what ``kubeadm.status`` reports there, of those that were asked and answer.
    """

    table: Table
    leaving: tuple[Leaving, ...]
    source: str
    members: Sequence[Mapping[str, Any]] = ()
    balancers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    status: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that leave."""
        return tuple(node.name for node in self.leaving)

    @property
    def staying(self) -> tuple[str, ...]:
        """The nodes of the table that stay."""
        return tuple(name for name in self.table.all if name not in self.names)

    @property
    def control_plane(self) -> tuple[Leaving, ...]:
        """The control-plane nodes that leave, in a quorum-safe order: first those whose etcd does not answer."""
        healthy = {member["name"] for member in self.members if member["healthy"]}
        nodes = [node for node in self.leaving if node.role == CONTROL_PLANE]
        return tuple(sorted(nodes, key=lambda node: node.name in healthy))


def refusals(picture: Picture, force: bool) -> list[Problem]:
    """Everything that forbids this removal, [] when nothing does."""
    names = [node.name for node in picture.control_plane]
    return [
        *_enough_left(picture),
        *learning(names, picture.members),
        *_quorum(picture),
        *unwilling(picture, force),
    ]


def _enough_left(picture: Picture) -> Iterator[Problem]:
    """Of each role that loses a node one has to be left."""
    what = {LOAD_BALANCER: "load balancer", CONTROL_PLANE: "control-plane node", WORKER: "worker"}
    cluster = "to take the whole cluster down: salt-run state.orchestrate orchestrate.cluster_remove"
    for role, title in what.items():
        losing = [node.name for node in picture.leaving if node.role == role]
        left = [name for name in picture.table.of_role(role) if name not in picture.names]
        if losing and not left:
            cause, remedy = f"no {title} would be left", f"add another row first; {cluster}"
            yield Problem(", ".join(losing), STEP, cause, remedy, code=REFUSED)


def learning(leaving: Sequence[str], members: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """No member leaves etcd, for good or for a while, while another one comes.

    Args:
        leaving: control-plane nodes.
        members: as ``etcd_member.standing`` reports them.
    """
    learners = [_member_name(m) for m in members if m["learner"] and m["name"] not in leaving]
    if leaving and learners:
        cause = f"{', '.join(learners)} is a learner of etcd: another node is joining, and etcd changes one at a time"
        remedy = "wait until it has joined: salt-run cluster.status"
        yield Problem(", ".join(leaving), STEP, cause, remedy, code=REFUSED)


def _quorum(picture: Picture) -> Iterator[Problem]:
    """After each removal more than half of etcd's voting members have to answer."""
    leaving = [node.name for node in picture.control_plane]
    voting = {m["name"]: bool(m["healthy"]) for m in picture.members if not m["learner"]}
    for name in leaving:
        voting.pop(name, None)
        answering, needed = sum(voting.values()), quorum(len(voting))
        if voting and answering < needed:
            cause = (
                f"etcd would have {len(voting)} members left, of which {answering} answer and {needed} have to: the "
                "cluster would stop"
            )
            silent = ", ".join(sorted(other for other, healthy in voting.items() if not healthy))
            remedy = f"first bring back or remove those that do not answer: {silent}"
            yield Problem(name, STEP, cause, remedy, code=REFUSED)
            return


def quorum(members: int) -> int:
    """How many of etcd's voting members have to answer."""
    return members // 2 + 1


def _member_name(member: Mapping[str, Any]) -> str:
    return str(member["name"] or ", ".join(member["peer_urls"]))


def unwilling(picture: Picture, force: bool) -> Iterator[Problem]:
    """What of the nodes themselves forbids that they go: silence without ``force``, pods that nothing makes again."""
    yield from _dead(picture, force)
    for node in picture.leaving:
        if not node.dead:
            yield from lonely_pods(node.name, node.facts)


def _dead(picture: Picture, force: bool) -> Iterator[Problem]:
    """A node whose kubelet is silent cannot be drained; one whose machine is gone does not come back either."""
    for node in picture.leaving:
        if node.machine is None and node.answers:
            cause = "its minion answers, and yet Proxmox has no machine of this name to destroy"
            by_hand = f"kubectl drain {node.name}; kubectl delete node {node.name}; salt-key -d {node.name}"
            remedy = f"if another provider has it, or it was renamed: {by_hand}"
            yield Problem(node.name, STEP, cause, remedy, code=REFUSED)
        elif node.dead and node.machine is not None and not force:
            why = f"is not Ready ({node.facts['reason']})" if node.runs else "its machine is off"
            cause = f"{why}: its pods cannot be moved, only given up"
            pillar = example({"node": node.name, "force": True})
            remedy = f"bring it back (salt-cloud -a start {node.name}), or go on without it: {pillar}"
            yield Problem(node.name, STEP, cause, remedy, code=REFUSED)


def lonely_pods(name: str, facts: Mapping[str, Any]) -> Iterator[Problem]:
    """A pod without a controller would be gone for good: that is its owner's decision."""
    if pods := facts.get("alone"):
        namespace, _, pod = pods[0].partition("/")
        cause = f"nothing would make these pods again: {', '.join(pods)}"
        remedy = f"delete them yourself: kubectl -n {namespace} delete pod {pod}"
        yield Problem(name, STEP, cause, remedy, code=REFUSED)


def departure(picture: Picture, drain_s: int = DRAIN_S) -> list[Step]:
    """The steps before the machines are destroyed: pods moved, load balancers told, etcd members removed.

    One after another. When one fails, the nodes that this removal cordoned take pods again.
    """
    steps = [*_emptying(picture, drain_s), *_dismissal(picture)]
    chained = steps[:1] + [replace(step, after=(before.key,)) for before, step in pairwise(steps)]
    undo = cordons_given_back(picture.source, picture.names)
    return [*chained, undo] if any(step.key == "cordoned" for step in steps) else chained


def _emptying(picture: Picture, drain_s: int) -> list[Step]:
    registered = [node for node in picture.leaving if node.registered]
    if not registered:
        return []
    drained = [node.name for node in registered if not node.dead]
    return [
        cordoned(picture.source, [node.name for node in registered]),
        *(drained_step(picture.source, name, drain_s) for name in drained),
    ]


def cordoned(source: str, names: Sequence[str]) -> Step:
    """No new pods for nodes, and no addresses of services announced by them; the key is "cordoned"."""
    cordon = Call("kube_node.cordon", kwarg={"names": list(names)})
    return Step("cordoned", f"Cordon of {', '.join(names)}", (source,), cordon, stage=EMPTIED, deadline_s=QUICK_S)


def drained_step(source: str, name: str, drain_s: int) -> Step:
    """A node's pods have moved; the key is "drained NAME"."""
    call = Call("kube_node.drain", kwarg={"name": name, "deadline_s": drain_s})
    # kubectl gets half a minute more to say what is left, and the explanation asks the API again.
    deadline_s = drain_s + QUICK_S
    return Step(f"drained {name}", f"Drain of {name}", (source,), call, stage=EMPTIED, deadline_s=deadline_s)


def cordons_given_back(source: str, names: Sequence[str]) -> Step:
    """When the job fails, the nodes that it cordoned take pods again, and announce addresses."""
    return Step(
        "cordons given back",
        "Cordons given back",
        (source,),
        Call("kube_node.release", kwarg={"names": list(names)}),
        after=("cordoned",),
        undo=True,
        deadline_s=QUICK_S,
        remedy=f"salt {source} kube_node.release '{json.dumps(list(names))}'",
    )


def _dismissal(picture: Picture) -> list[Step]:
    """Load balancers first, so that no new request meets an API server whose etcd is going."""
    steps = []
    for balancer, settings in picture.balancers.items():
        call = apply_call(["haproxy"], pillar={"saltern": {"haproxy": dict(settings)}})
        title = f"{balancer} sends nothing more to {', '.join(picture.names)}"
        steps.append(Step(f"told {balancer}", title, (balancer,), call, stage=DISMISSED))
    for node in picture.control_plane:
        call = Call("etcd_member.remove", kwarg={"name": node.name, "address": node.address})
        title = f"etcd member of {node.name}"
        step = Step(f"dismissed {node.name}", title, (picture.source,), call, stage=DISMISSED, deadline_s=QUICK_S)
        steps.append(step)
    return steps


def forgetting(picture: Picture) -> list[Step]:
    """The steps after the machines are gone: the Nodes, and the names in the hosts files that had them."""
    delete = Call("kube_node.delete", kwarg={"names": list(picture.names)})
    node = Step("forgotten", f"Node {', '.join(picture.names)}", (picture.source,), delete, stage=FORGOTTEN)
    readers = _readers(picture)
    if not readers:
        return [node]
    hosts = Step(
        "unnamed",
        f"Hosts files without {', '.join(picture.names)}",
        readers,
        apply_call(["os.hosts"]),
        after=("forgotten",),
        stage=FORGOTTEN,
        remedy="salt '*' state.apply os.hosts (all else is done: the removed nodes are gone)",
    )
    return [node, hosts]


def _readers(picture: Picture) -> tuple[str, ...]:
    """Who has a removed name in its hosts file, and should not: whose row stays is named still, workers never are."""
    gone = {node.role for node in picture.leaving if node.row != OWN}
    if LOAD_BALANCER in gone:
        return picture.staying
    return tuple(name for name in picture.staying if name not in picture.table.workers) if CONTROL_PLANE in gone else ()
