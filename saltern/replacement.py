"""The stages of orchestrate.node_replace: who goes and comes, then one node after another.

As in :mod:`saltern.removal`: a run that is not confirmed is one in test mode. A node goes as a removal and comes as an
addition; between the two salt-cloud destroys its machine and makes it again from its row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from saltern import (
    addition,
    machines,
    plan_add,
    plan_remove,
    plan_replace,
    readiness,
    record,
    removal,
    stages,
    wholeness,
)
from saltern.plan import CONTROL_PLANE, LOAD_BALANCER
from saltern.plan_remove import OWN, Picture
from saltern.plan_replace import STEP, Progress, Request
from saltern.replacement_report import plan as plan_text
from saltern.run import Run, StageError, Told
from saltern.steps import Problem

# How long a new member of the control plane may take until all is whole: kubeadm has waited for it already. Seconds.
WHOLE_S = 180.0


@dataclass(frozen=True)
class Limits:
    """Seconds that each node may take: its machine to go, to come, the new minion to answer."""

    gone_s: float = 600.0
    made_s: float = 1800.0
    answer_s: float = 300.0


@dataclass
class Replacement:
    """A replacement under way: what was asked for, how far it is, and in which order what is left of it is done."""

    request: Request
    earlier: Progress | None = None
    progress: Progress | None = None
    order: tuple[str, ...] = ()

    @property
    def planned(self) -> Progress:
        """The progress; the stage that plans comes first."""
        if self.progress is None:
            remedy = "put stage.replacement_planned before it"
            raise StageError(Problem("", STEP, "no stage has planned it yet", remedy, code=plan_replace.REFUSED))
        return self.progress


def begin(run: Run, pillar: Mapping[str, Any]) -> Told:
    """Read the request, then begin as every job does; without a confirmation nothing will be changed.

    Args:
        run: the run.
        pillar: of the call: node or nodes, confirm, force, anew, drain_timeout_s.
    """
    request = Request.of(pillar)
    plan_replace.require_rows(run.table, request.names)
    run.test = run.test or not request.confirmed
    run.arguments = plan_remove.example(request.pillar(**({"confirm": True} if request.confirmed else {})))
    run.replacement = Replacement(request, Progress.resumed(record.runs(run.directory), request))
    return stages.begin(run)


def _replacement(run: Run) -> Replacement:
    if run.replacement is None:
        remedy = "put stage.replacement_begun before it"
        raise StageError(Problem("", STEP, "no node was named", remedy, code=plan_replace.REFUSED))
    return run.replacement


def planned(run: Run, salt_cloud: Sequence[str]) -> Told:
    """It is known who is replaced, what goes, moves and comes, and nothing forbids it.

    Args:
        run: the run.
        salt_cloud: the command with its configuration.
    """
    wanted = _replacement(run)
    request, keys = wanted.request, run.master.keys().accepted
    progress = wanted.earlier or Progress.begun(request.names, keys)
    left = [name for name in request.names if name not in progress.done]
    half_way = tuple(name for name in left if progress.renewed(name, keys))
    picture = _pictured(run, salt_cloud, [name for name in left if name not in half_way], all_at_once=False)
    wanted.progress, wanted.order = progress, (*half_way, *plan_replace.in_order(picture))
    if problems := plan_replace.refusals(picture, request.force, wanted.order):
        raise StageError(*problems)
    text = plan_text(run.cluster, picture, request, progress, wanted.order)
    return Told(text, result=None if run.test else True)


def _pictured(run: Run, salt_cloud: Sequence[str], names: Sequence[str], all_at_once: bool = True) -> Picture:
    """As for a removal, but no row goes: whoever wrote it, it says what comes."""
    picture = removal.pictured(run, salt_cloud, names, all_at_once)
    return replace(picture, leaving=tuple(replace(node, row=OWN) for node in picture.leaving))


def replaced(run: Run, salt_cloud: Sequence[str], limits: Limits) -> Told:
    """Each node has a new machine and is what it was, one after the other.

    Args:
        run: the run.
        salt_cloud: the command with its configuration.
        limits: seconds for each node.
    """
    wanted = _replacement(run)
    progress, order = wanted.planned, wanted.order
    if run.test:
        return Told(f"would replace one after the other: {', '.join(order)}", result=None)
    _remember(run, progress)
    for number, name in enumerate(order, start=1):
        where = f"{name} ({number} of {len(order)})"
        if not progress.renewed(name, run.master.keys().accepted):
            run.tell(f"{where} goes")
            _remove(run, salt_cloud, name, limits)
        run.tell(f"{where} comes")
        _make(run, salt_cloud, name, limits)
        _join(run, name, limits)
        progress = progress.with_done(name)
        _remember(run, progress)
    return Told(f"replaced: {', '.join(order) or 'nothing was left to do'}", dict.fromkeys(order, "replaced"))


def _remember(run: Run, progress: Progress) -> None:
    """So that a run which goes on after this one was killed does not begin with what is done."""
    _replacement(run).progress = progress
    if run.record:
        run.record.note(**{plan_replace.RECORDED: progress.data})


def _role(run: Run, name: str) -> str:
    return run.cluster.nodes[name].role


def _remove(run: Run, salt_cloud: Sequence[str], name: str, limits: Limits) -> None:
    """The node leaves as in a removal, asked anew: what was planned may have taken a while, with other nodes in it."""
    request = _replacement(run).request
    picture = _pictured(run, salt_cloud, (name,))
    if problems := plan_replace.refusals(picture, request.force, (name,)):
        raise StageError(*problems)
    others = tuple(other for other in run.table.load_balancers if other != name)
    if _role(run, name) == LOAD_BALANCER and others and not request.force:
        readiness.run_steps(run, [plan_replace.up_step(others)])
    job = run.new_job(plan_remove.departure(picture, request.drain_s))
    if problems := job.run():
        raise StageError(*problems)
    removal.destroyed(run, job, salt_cloud, (name,), limits.gone_s, rows_stay=True)
    if _role(run, name) != LOAD_BALANCER:
        readiness.run_steps(run, plan_remove.forgetting(picture))


def _make(run: Run, salt_cloud: Sequence[str], name: str, limits: Limits) -> None:
    """Its machine exists and is on; what a killed salt-cloud left half made is cleared up by the next one."""
    run.answering.discard(name)
    if name not in removal.answering_of(run, (name,)):
        with machines.map_of({name: _role(run, name)}) as map_file:
            stages.made(run, salt_cloud, map_file, (name,), limits.made_s)


def _join(run: Run, name: str, limits: Limits) -> None:
    """The node is what it was before, and whole: the next one may go."""
    if _role(run, name) == LOAD_BALANCER:
        readiness.minions_answer(run, limits.answer_s, (name,))
        readiness.preflight(run, (name,))
        status = removal.membership(run, run.table.control_plane)
        source = removal.whom_to_ask(run, status, (name,))
        readiness.run_steps(run, plan_replace.balancer_steps(name, source, run.table.sharing))
        return
    run.addition = addition.Addition(plan_add.Request((name,)), (name,))
    addition.answer(run, limits.answer_s)
    addition.check(run)
    addition.completed(run)
    if _role(run, name) == CONTROL_PLANE:
        readiness.run_steps(run, [plan_replace.up_step(run.table.load_balancers, (name,))])
        wholeness.wait(run, name, STEP, plan_replace.NOT_WHOLE, WHOLE_S)
