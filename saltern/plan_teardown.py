"""By which steps a whole cluster is taken down: decided from the definition and what the cluster reports.

The order is document 0's, backwards: services, load balancer addresses, network, membership, services of the system,
files. With machines that are destroyed anyway nothing of it is needed: then no step asks a node.
"""

from __future__ import annotations

from collections.abc import Mapping
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
NODE_CLEAN = ("kubelet.clean", "crio.clean", "binaries.clean", "os.clean")
CONTROL_PLANE_CLEAN = ("kubeconfig.clean", *NODE_CLEAN)
BALANCER_CLEAN = ("haproxy.distrusted", "haproxy.clean", "os.clean")


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
        verified: whether the test service is part of the definition.
        standing: node -> what it carries (``kube_node.standing``), {} when that could not be asked.
        machines: name -> machine, as salt-cloud lists them, of the table's names.
        silent: nodes of the table whose minions do not answer.
    """

    table: Table
    source: str = ""
    verified: bool = True
    standing: Mapping[str, Any] = field(default_factory=dict)
    machines: Mapping[str, Any] = field(default_factory=dict)
    silent: tuple[str, ...] = ()


def steps(picture: Picture) -> list[Step]:
    """The steps that take a cluster off machines that are kept, one after another.

    Without a healthy control-plane node what needs the API is left out: the reset destroys its data in any case.
    """
    table, names = picture.table, list(picture.table.kubernetes)
    last = (picture.source,) if picture.source else ()
    control_plane = (*(name for name in table.control_plane if name not in last), *last)
    found = [
        *(_of_the_api(picture) if picture.source else []),
        _reset("workers reset", "Reset of workers", table.workers, names),
        replace(
            _reset("control plane reset", "Reset of control-plane nodes", control_plane, names), one_at_a_time=True
        ),
        _clean("workers cleaned", "Workers as before", table.workers, NODE_CLEAN),
        _clean("control plane cleaned", "Control-plane nodes as before", control_plane, CONTROL_PLANE_CLEAN),
        _clean("balancers cleaned", "Load balancers as before", table.load_balancers, BALANCER_CLEAN),
    ]
    present = [step for step in found if step.targets]
    return present[:1] + [replace(step, after=(before.key,)) for before, step in pairwise(present)]


def _of_the_api(picture: Picture) -> list[Step]:
    """What is undone in the cluster itself; its Nodes last, without which a member counts as healthy no more."""
    rooms = [("test service", "Test service", "verification.clean")] if picture.verified else []
    rooms += [("metallb", "MetalLB", "metallb.clean")]
    source = (picture.source,)
    undone = [
        Step(
            f"{key} gone",
            f"{title} gone",
            source,
            apply_call([sls], concurrent=True),
            stage=EMPTIED,
            deadline_s=CHART_S,
        )
        for key, title, sls in rooms
    ]
    delete = Call("kube_node.delete", kwarg={"names": list(picture.table.kubernetes)})
    return [*undone, Step("forgotten", "Nodes forgotten", source, delete, stage=EMPTIED, deadline_s=QUICK_S)]


def _reset(key: str, title: str, targets: tuple[str, ...], confirmed: list[str]) -> Step:
    call = apply_call(["kubeadm.clean"], pillar={"saltern_confirm_reset": confirmed})
    return Step(key, title, targets, call, stage=LEFT, deadline_s=RESET_S)


def _clean(key: str, title: str, targets: tuple[str, ...], sls: tuple[str, ...]) -> Step:
    return Step(key, title, targets, apply_call(sls), stage=CLEANED, deadline_s=CLEAN_S)
