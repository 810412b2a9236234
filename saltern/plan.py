"""Which steps bring a cluster up, on which nodes, in which order: decided from the definition and what nodes report.

The order is the table :data:`ORDER`; nothing else in the product knows it. Facts in, steps out: no I/O here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from saltern import diagnosis
from saltern.model import Cluster
from saltern.steps import Call, Outcome, Step, StepError

LOAD_BALANCER, CONTROL_PLANE, WORKER = "load_balancer", "control_plane", "worker"

# The stages of orchestrate.cluster that work on a plan; each waits for its own steps, later ones may have begun before.
PREPARED, INITIALISED, JOINED, READY, ANNOUNCED, SERVING = (
    "prepared",
    "initialised",
    "joined",
    "ready",
    "announced",
    "serving",
)

# What waits for what: step -> (its stage, the steps that must have succeeded before it starts). A step that is not
# needed is left out of a plan, and what waits for it then waits for what it waited for.
#
# Two things make a bring-up slow: the chain init -> second -> third control-plane node (each waits for etcd), and the
# unpacking of images on all nodes. So the chain starts as early as it can: the first node and the load balancers are
# prepared before the others, init runs while the others are prepared, and the joins do not wait for Cilium. MetalLB is
# applied as soon as there are workers to run it: Kubernetes starts it on the first node that becomes Ready, and pulls
# the test service's image meanwhile. Neither waits for Cilium's step, which lasts until Cilium runs on every node.
ORDER: dict[str, tuple[str, tuple[str, ...]]] = {
    "balancers prepared": (PREPARED, ()),
    "first prepared": (PREPARED, ()),
    "control plane prepared": (PREPARED, ("first prepared",)),
    "workers prepared": (PREPARED, ("first prepared",)),
    "members prepared": (PREPARED, ()),
    "worker members prepared": (PREPARED, ()),
    "initialised": (INITIALISED, ("first prepared", "balancers prepared", "members prepared")),
    "authority read": (INITIALISED, ("initialised",)),
    "authority trusted": (INITIALISED, ("authority read", "balancers prepared")),
    "cilium": (JOINED, ("initialised",)),
    "material": (JOINED, ("initialised",)),
    "control plane joined": (JOINED, ("material", "control plane prepared")),
    "workers joined": (JOINED, ("material", "workers prepared")),
    "material revoked": (JOINED, ("material", "control plane joined", "workers joined")),
    "metallb": (ANNOUNCED, ("workers joined",)),
    "service deployed": (ANNOUNCED, ("workers joined",)),
    "network taken up": (READY, ("cilium", "control plane joined", "workers joined")),
    "nodes ready": (READY, ("control plane joined", "workers joined")),
    "nodes marked": (READY, ("control plane joined", "workers joined")),
    "verification": (SERVING, ("metallb", "service deployed", "nodes ready")),
    "address": (SERVING, ("verification",)),
}

# What makes a machine ready to become a Kubernetes node.
NODE_SLS = ["os", "binaries", "crio", "kubelet"]
# The same for a load balancer, and what comes to it where several share an address.
BALANCER_SLS = ["os", "haproxy"]
SHARING_SLS = [*BALANCER_SLS, "keepalived"]

# Room for the slowest node that is not broken: image pulls over a shared disk on loaded cores. Seconds.
PREPARE_S, INITIALISE_S, JOIN_S, CHART_S, READY_S, QUICK_S = 1200.0, 600.0, 600.0, 900.0, 900.0, 120.0


@dataclass(frozen=True)
class Table:
    """The names of the table by role, in table order; ``sharing``: whether the load balancers share an address."""

    load_balancers: tuple[str, ...] = ()
    control_plane: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    sharing: bool = False

    @classmethod
    def of(cls, cluster: Cluster) -> Table:
        """The table of a definition."""
        load_balancers, control_plane, workers = (
            tuple(row.name for row in rows) for rows in (cluster.load_balancers, cluster.control_plane, cluster.workers)
        )
        return cls(load_balancers, control_plane, workers, cluster.settings.virtual_address is not None)

    @property
    def all(self) -> tuple[str, ...]:
        """Every node: load balancers, control plane, workers."""
        return self.load_balancers + self.control_plane + self.workers

    @property
    def kubernetes(self) -> tuple[str, ...]:
        """Every node that becomes a Kubernetes node."""
        return self.control_plane + self.workers

    def of_role(self, role: str) -> tuple[str, ...]:
        """Names of one role. Raises ValueError for a role that does not exist."""
        if role not in ROLES:
            raise ValueError(f"there is no role {role!r}: {', '.join(ROLES)}")
        return {LOAD_BALANCER: self.load_balancers, CONTROL_PLANE: self.control_plane, WORKER: self.workers}[role]


ROLES = (LOAD_BALANCER, CONTROL_PLANE, WORKER)


@dataclass(frozen=True)
class Picture:
    """What is known of the cluster when a plan is made.

    Args:
        table: who should be there.
        status: node -> what ``kubeadm.status`` reports there ({} or absent: nothing of a cluster yet).
        public_keys: minion ID -> public key (PEM) as the master has accepted it.
        service: (namespace, name) of the web service that proves the cluster; None when it is switched off.
        left_over: an earlier run ended in the middle, so join material of its may still be valid.
    """

    table: Table
    status: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    public_keys: Mapping[str, str] = field(default_factory=dict)
    service: tuple[str, str] | None = None
    left_over: bool = False

    @property
    def source(self) -> str | None:
        """The control-plane node that is asked for everything: the first healthy one; None if there is none yet."""
        return next((node for node in self.table.control_plane if self.is_member(node) and self.healthy(node)), None)

    @property
    def members(self) -> tuple[str, ...]:
        """Nodes that have joined the cluster, in table order."""
        return tuple(node for node in self.table.kubernetes if self.is_member(node))

    def is_member(self, node: str) -> bool:
        """Whether the node has joined (or begun) the cluster."""
        return bool(self.status.get(node, {}).get("joined"))

    def split(self, nodes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(new nodes, members) of these nodes."""
        return tuple(n for n in nodes if not self.is_member(n)), tuple(n for n in nodes if self.is_member(n))

    def healthy(self, node: str) -> bool:
        """Whether the node's own Kubernetes components answer."""
        return bool(self.status.get(node, {}).get("healthy"))

    @property
    def behind_silence(self) -> str | None:
        """The first control-plane node that is well, when nobody can see it because no load balancer answers."""
        if self.source is not None:
            return None
        return next((n for n in self.table.control_plane if self.status.get(n, {}).get("endpoint_silent")), None)


class PlanError(Exception):
    """The cluster is in a state that no step may be tried on: text says which, why, and what to type."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.codes = (code,)


def bring_up(picture: Picture) -> list[Step]:
    """The steps from what the picture shows to the whole table. Raises PlanError when it must not be tried.

    A cluster behind load balancers that are silent gets these first, and nothing else: what it needs besides can only
    be told once it is seen.
    """
    if picture.behind_silence:
        return arranged(_load_balancers_first(picture, picture.behind_silence), ORDER)
    _refuse(picture)
    return arranged(_steps(picture), ORDER)


def _load_balancers_first(picture: Picture, source: str) -> list[Step]:
    prepared = replace(balancers_prepared(picture), reason="API servers run, and nobody answers at the endpoint")
    return [prepared, *authority_trusted(picture.table, source)]


Order = Mapping[str, tuple[str, tuple[str, ...]]]
"""Step -> (its stage, the steps that must have succeeded before it starts), as in :data:`ORDER`."""


def arranged(steps: Sequence[Step], order: Order) -> list[Step]:
    """The steps that have targets, each with its stage and what it waits for."""
    needed = [step for step in steps if step.targets]
    present = {step.key for step in needed}
    return [_placed(step, present, order) for step in needed]


def _placed(step: Step, present: Collection[str], order: Order) -> Step:
    """A step with its stage and what it waits for. Clean-up follows only what it cleans up after."""
    stage, before = order[step.key]
    after = tuple(key for key in before if key in present) if step.always else _after(step.key, present, order)
    return replace(step, stage=stage, after=after)


def _refuse(picture: Picture) -> None:
    if not picture.table.control_plane:
        text = "the table has no control-plane node: add a row with role control_plane to pillar/cluster.sls"
        raise PlanError(text, "definition-nodes")
    if picture.members and picture.source is None:
        found = diagnosis.of_status(picture.status, picture.table.control_plane)
        text = (
            f"{', '.join(picture.members)}: belong to a cluster, but no control-plane node of the table is healthy"
            f"{found.note}: a new cluster beside the old one would split it, so nothing is tried. See what is wrong: "
            f"salt {picture.members[0]} kubeadm.status; stopped services are mended by: salt '*' state.apply; nodes of "
            "a cluster that is gone are wiped by: salt NODE kubeadm.reset confirm=NODE"
        )
        raise PlanError(text, found.code)


def _after(key: str, present: Collection[str], order: Order) -> tuple[str, ...]:
    """The steps of the plan that a step waits for; through a step that is left out, to those before it."""
    found: list[str] = []
    for before in order[key][1]:
        found += [before] if before in present else _after(before, present, order)
    return tuple(dict.fromkeys(found))


def _steps(picture: Picture) -> list[Step]:
    source = picture.source or _where_to_begin(picture)
    new, _ = picture.split(picture.table.kubernetes)
    return [
        *_preparation(picture, source),
        *_beginning(picture, source),
        *joins(picture, source),
        _chart(picture, "cilium", "Cilium", (source,)),
        _chart(picture, "metallb", "MetalLB", (source,)),
        network_taken_up(picture, new),
        nodes_ready(picture, source),
        nodes_marked(picture, source),
        *_verification(picture, source),
    ]


def network_taken_up(picture: Picture, nodes: tuple[str, ...]) -> Step:
    """The nodes' runtime has Cilium's CNI configuration. Beside the charts, which run on one of them meanwhile."""
    step = sls_step(picture, "network taken up", "CNI configuration taken up", nodes, ["cilium.node"], READY_S)
    return replace(step, call=apply_call(["cilium.node"], concurrent=True))


def _where_to_begin(picture: Picture) -> str:
    """The control-plane node for init: one on which an init was begun, else the first of the table."""
    begun = [n for n in picture.table.control_plane if picture.status.get(n, {}).get("unfinished") == "init"]
    return [*begun, *picture.table.control_plane][0]


def _preparation(picture: Picture, source: str) -> list[Step]:
    """The operating system and runtime: new nodes in parallel, members of a running cluster's control plane in turn."""
    table, node_sls = picture.table, NODE_SLS
    new, members = picture.split(table.control_plane)
    new_workers, old_workers = picture.split(table.workers)
    first = (source,) if picture.source is None else ()
    others = tuple(node for node in new if node not in first)
    # What follows node_sls on members comes with init or join on a new node.
    member_sls, worker_sls = [*node_sls, "kubeconfig", "kubeadm.static_pods"], [*node_sls, "kubeconfig.endpoints"]
    in_turn = sls_step(picture, "members prepared", "Preparation of control-plane members", members, member_sls)
    return [
        balancers_prepared(picture),
        sls_step(picture, "first prepared", "Preparation of the first node", first, node_sls),
        sls_step(picture, "control plane prepared", "Preparation of control-plane nodes", others, node_sls),
        sls_step(picture, "workers prepared", "Preparation of workers", new_workers, node_sls),
        sls_step(picture, "worker members prepared", "Preparation of worker members", old_workers, worker_sls),
        replace(in_turn, one_at_a_time=True),
    ]


def _beginning(picture: Picture, source: str) -> list[Step]:
    begin = picture.source is None
    return [
        replace(
            sls_step(
                picture,
                "initialised",
                "kubeadm init",
                (source,) if begin else (),
                ["kubeadm.initialised"],
                INITIALISE_S,
            ),
            reason="no control-plane node has the cluster",
        ),
        *authority_trusted(picture.table, source, "say" if begin else "ask"),
    ]


def balancers_prepared(picture: Picture) -> Step:
    """The table's load balancers run HAProxy, and where they share an address keepalived.

    Of a running cluster one after the other: what is wrong with the first must not reach the others.
    """
    sls = SHARING_SLS if picture.table.sharing else BALANCER_SLS
    title = "Preparation of load balancers"
    step = sls_step(picture, "balancers prepared", title, picture.table.load_balancers, sls)
    return replace(step, one_at_a_time=picture.source is not None)


def authority_trusted(table: Table, source: str, in_test_mode: Literal["say", "ask"] = "say") -> list[Step]:
    """The table's load balancers know the cluster's CA, which the source has; one after the other, for they serve."""
    return [
        Step(
            "authority read",
            "Cluster CA",
            (source,),
            Call("kubeadm.ca_certificate"),
            deadline_s=QUICK_S,
            in_test_mode=in_test_mode,
            reason="load balancers check the API servers' certificates with it",
        ),
        Step(
            "authority trusted",
            "HAProxy checks with the cluster CA",
            table.load_balancers,
            _trust_call,
            one_at_a_time=True,
            deadline_s=QUICK_S,
            in_test_mode=in_test_mode,
        ),
    ]


def _trust_call(outcomes: Mapping[str, Outcome]) -> Call:
    authority = outcomes["authority read"].value()
    if not authority:
        raise StepError("the control-plane node returned no CA certificate")
    return apply_call(["haproxy.trusted"], pillar={"saltern_ca": authority})


def joins(picture: Picture, source: str) -> list[Step]:
    """Material, joins, revocation. The material passes through here sealed, each node's for that node alone."""
    begun = {source} if picture.source is None else set()
    control_plane = tuple(n for n in picture.table.control_plane if not picture.is_member(n) and n not in begun)
    workers = tuple(node for node in picture.table.workers if not picture.is_member(node))
    joining = control_plane + workers
    keys = {node: picture.public_keys[node] for node in joining if node in picture.public_keys}
    ask = Call("kubeadm.join_material", kwarg={"public_keys": keys, "control_plane": list(control_plane)})
    revoke = (source,) if joining or (picture.left_over and picture.source) else ()
    return [
        Step("material", "Join material", (source,) if joining else (), ask, deadline_s=QUICK_S),
        Step(
            "control plane joined",
            "Control-plane join",
            control_plane,
            _join_call,
            one_at_a_time=True,
            deadline_s=JOIN_S,
            reason="not a member yet; one after another, because etcd takes one learner at a time",
        ),
        Step("workers joined", "Worker join", workers, _join_call, deadline_s=JOIN_S, reason="not a member yet"),
        Step(
            "material revoked",
            "Join material revoked",
            revoke,
            Call("kubeadm.revoke_join_material"),
            always=True,
            deadline_s=QUICK_S,
            reason="tokens and the certificate key must not outlive the joins",
        ),
    ]


def _join_call(outcomes: Mapping[str, Outcome]) -> Call:
    sealed = outcomes["material"].value()
    if not isinstance(sealed, Mapping):
        raise StepError("the control-plane node returned no join material")
    return apply_call(["kubeadm.joined"], pillar={"saltern_join": dict(sealed)})


def nodes_ready(picture: Picture, source: str) -> Step:
    """Every Kubernetes node of the picture's table is Ready, as the source sees it."""
    names = list(picture.table.kubernetes)
    return Step(
        "nodes ready",
        f"{len(names)} nodes Ready",
        (source,),
        Call("kube.wait_nodes_ready", kwarg={"names": names, "deadline_s": int(READY_S)}),
        deadline_s=READY_S + QUICK_S,
        in_test_mode="reads" if set(picture.members) >= set(names) else "say",
    )


def nodes_marked(picture: Picture, source: str) -> Step:
    """Nodes that have joined have the labels and taints of their rows and roles, as the source sees to it."""
    return _chart(picture, "nodes marked", "Labels and taints", (source,), "cluster.marked")


def _chart(picture: Picture, key: str, title: str, targets: tuple[str, ...], sls: str = "") -> Step:
    """An SLS of a control-plane node that acts on the cluster's API only, so it may run beside others of that node."""
    step = sls_step(picture, key, title, targets, [sls or key], CHART_S)
    return replace(step, call=apply_call([sls or key], concurrent=True))


def _verification(picture: Picture, source: str) -> list[Step]:
    sources = (source,) if picture.service else ()
    namespace, name = picture.service or ("", "")
    service = {"service": name, "namespace": namespace, "deadline_s": int(QUICK_S)}
    return [
        _chart(picture, "service deployed", "Test service applied", sources, "verification.deployed"),
        _chart(picture, "verification", "Test service runs", sources),
        Step(
            "address",
            "Test service's address",
            sources,
            Call("kube.wait_load_balancer", kwarg=service),
            deadline_s=QUICK_S * 2,
            in_test_mode="reads" if picture.source else "say",
        ),
    ]


def sls_step(
    picture: Picture, key: str, title: str, targets: tuple[str, ...], sls: Sequence[str], deadline_s: float = PREPARE_S
) -> Step:
    """SLS on nodes. New nodes are not asked by their test mode: it would fail on what is not there yet."""
    settled = picture.source and all(picture.is_member(n) or n in picture.table.load_balancers for n in targets)
    return Step(key, title, targets, apply_call(sls), deadline_s=deadline_s, in_test_mode="ask" if settled else "say")


def apply_call(sls: Sequence[str], pillar: Mapping[str, Any] | None = None, concurrent: bool = False) -> Call:
    """A state run on a node.

    ``concurrent`` is for what acts on the cluster's API and not on the node: it runs beside other state runs there.
    The others queue behind one that an interrupted run left behind: a number makes the call itself wait, where True
    would put it into a file on the node, join material included. Each state is told as it ends, for the progress
    lines; not by the master's configuration, because every such event costs the node a new connection.
    """
    kwarg: dict[str, Any] = {"mods": list(sls), "state_events": True}
    kwarg |= {"concurrent": True} if concurrent else {"queue": QUEUE_LENGTH}
    return Call("state.apply", kwarg=kwarg | ({"pillar": dict(pillar)} if pillar else {}))


# State runs that may wait on a node behind the one that runs.
QUEUE_LENGTH = 5
