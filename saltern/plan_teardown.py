"""By which steps a whole cluster is taken down: decided from the definition and what the cluster reports.

The order is document 0's, backwards: services, load balancer addresses, network, membership, services of the system,
files. With machines that are destroyed anyway nothing of it is needed: then no step asks a node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from saltern.plan import PlanError, Table, apply_call
from saltern.plan_remove import QUICK_S, REFUSED, example, switch
from saltern.steps import Call, Step

STEP = "Teardown"
# The stages of orchestrate.cluster_remove that ask nodes; only of machines that are kept.
EMPTIED, LEFT, CLEANED = "emptied", "left", "cleaned"
# Room for a namespace that waits for its pods' grace periods, and for a reset that stops every container. Seconds.
CHART_S, RESET_S, CLEAN_S = 600.0, 600.0, 900.0

# What undoes each role's rooms, in the order in which they are undone.
NODE_CLEAN = ("recorded.clean", "kubelet.clean", "crio.clean", "binaries.clean", "os.clean")
CONTROL_PLANE_CLEAN = ("kubeconfig.clean", *NODE_CLEAN)
BALANCER_CLEAN = ("recorded.clean", "haproxy.distrusted", "haproxy.clean", "os.clean")
SHARING_CLEAN = ("recorded.clean", "keepalived.clean", *BALANCER_CLEAN[1:])


@dataclass(frozen=True)
class Request:
    """What the operator asks for, from the pillar of the call.

    Args:
        confirmed: do it; else only say what would be done.
        keep_machines: take the cluster off the machines, and leave these as they were before it.
    """

    confirmed: bool = False
    keep_machines: bool = False

    @classmethod
    def of(cls, pillar: Mapping[str, Any], cluster: str) -> Request:
        """Read the pillar of the call. Raises PlanError for a confirmation that is not this cluster's name."""
        word = pillar.get("confirm")
        if word not in (None, cluster):
            text = (
                f"confirm is {word!r}; to take this cluster down it has to be its name: {example({'confirm': cluster})}"
            )
            raise PlanError(text, REFUSED)
        return cls(word == cluster, switch(pillar, "keep_machines"))

    def pillar(self, cluster: str) -> dict[str, Any]:
        """The pillar by which this is done."""
        return {"confirm": cluster} | ({"keep_machines": True} if self.keep_machines else {})


@dataclass(frozen=True)
class Picture:
    """What is known when a teardown is planned.

    Args:
        table: who is in the table.
        source: a healthy control-plane node; "" when there is none, so that the API cannot be asked.
        addresses: of the table's rows, by name.
        verified: whether the test service is part of the definition.
        standing: node -> what it carries (``kube_node.standing``), {} when that could not be asked.
        machines: name -> machine, as salt-cloud lists them, of the table's names.
        left: name, of the table or not -> what an unfinished create has left of it, as phrases.
        silent: nodes of the table whose minions do not answer.
    """

    table: Table
    source: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)
    verified: bool = True
    standing: Mapping[str, Any] = field(default_factory=dict)
    machines: Mapping[str, Any] = field(default_factory=dict)
    left: Mapping[str, Sequence[str]] = field(default_factory=dict)
    silent: tuple[str, ...] = ()


def steps(picture: Picture) -> list[Step]:
    """The steps that take a cluster off machines that are kept, one after another.

    Without a healthy control-plane node what needs the API is left out: the reset destroys its data in any case.
    """
    table = picture.table
    control_plane = (*(name for name in table.control_plane if name != picture.source), picture.source)
    balancer_clean = SHARING_CLEAN if table.sharing else BALANCER_CLEAN
    found = [
        *(_services(picture) if picture.source else []),
        *_resets(picture),
        _clean("workers cleaned", "Workers as before", table.workers, NODE_CLEAN),
        _clean("control plane cleaned", "Control-plane nodes as before", control_plane, CONTROL_PLANE_CLEAN),
        _clean("balancers cleaned", "Load balancers as before", table.load_balancers, balancer_clean),
    ]
    present = [step for step in found if step.targets]
    return present[:1] + [replace(step, after=(before.key,)) for before, step in pairwise(present)]


def _services(picture: Picture) -> list[Step]:
    rooms = [("test service", "Test service", "verification.clean")] if picture.verified else []
    rooms += [("metallb", "MetalLB", "metallb.clean")]
    return [
        replace(
            _ask(picture, f"{key} gone", f"{title} gone", apply_call([sls], concurrent=True), EMPTIED),
            deadline_s=CHART_S,
        )
        for key, title, sls in rooms
    ]


def _resets(picture: Picture) -> list[Step]:
    """No reset of a healthy member: workers lose their Node first, control-plane nodes their etcd member.

    The node that is asked goes last; it loses its Node, for the last member of etcd cannot be removed.
    """
    table, source = picture.table, picture.source
    if not source:
        return [_reset("workers", table.workers), _reset("control plane", table.control_plane)]
    found = [_unregistered(picture, "workers", table.workers), _reset("workers", table.workers)]
    for name in (name for name in table.control_plane if name != source):
        call = Call("etcd_member.remove", kwarg={"name": name, "address": picture.addresses.get(name, "")})
        found += [_ask(picture, f"{name} dismissed", f"etcd member of {name}", call, LEFT), _reset(name, (name,))]
    return [*found, _unregistered(picture, source, (source,)), _reset(source, (source,))]


def _unregistered(picture: Picture, who: str, names: tuple[str, ...]) -> Step:
    call = Call("kube_node.unregister", kwarg={"names": list(names)})
    return _ask(picture, f"{who} unregistered", f"Node {', '.join(names)}", call, LEFT)


def _ask(picture: Picture, key: str, title: str, call: Call, stage: str) -> Step:
    return Step(key, title, (picture.source,), call, stage=stage, deadline_s=QUICK_S)


def _reset(who: str, targets: tuple[str, ...]) -> Step:
    call = apply_call(["kubeadm.clean"], pillar={"saltern_confirm_reset": list(targets)})
    return Step(f"{who} reset", f"Reset of {who}", targets, call, stage=LEFT, deadline_s=RESET_S)


def _clean(key: str, title: str, targets: tuple[str, ...], sls: tuple[str, ...]) -> Step:
    known = tuple(name for name in targets if name)
    return Step(key, title, known, apply_call(sls), stage=CLEANED, deadline_s=CLEAN_S)
