"""The stages of orchestrate.node_restart: who restarts with whom, then one batch after the other.

As in :mod:`saltern.removal`: a run that is not confirmed is one in test mode. What is waited for after a restart are
facts: another boot, a whole member of the control plane, pods in containers of after the restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from saltern import (
    plan_remove,
    plan_replace,
    plan_restart,
    readiness,
    record,
    removal,
    restart_report,
    stages,
    wholeness,
)
from saltern.plan import CONTROL_PLANE, LOAD_BALANCER
from saltern.plan_restart import NOT_RESTARTED, NOT_WHOLE, RECORDED, REFUSED, STEP, Picture, Progress, Request
from saltern.run import Run, StageError, Told
from saltern.steps import Call, Problem, Returned, Step

BOOT = "os_restart.boot"


@dataclass(frozen=True)
class Limits:
    """Seconds: for the upgrade of a node's packages, until it answers again, is whole, has its pods again."""

    upgrade_s: float = 1800.0
    boot_s: float = 600.0
    whole_s: float = 300.0
    pods_s: int = 600


@dataclass
class Restart:
    """A rolling restart under way: what was asked for, how far it is, and the batches that are left.

    ``awaited`` are those that an earlier run has sent away: each of them is a batch of its own, and only comes back.
    """

    request: Request
    names: tuple[str, ...]
    earlier: Progress | None = None
    progress: Progress | None = None
    order: tuple[tuple[str, ...], ...] = ()
    awaited: frozenset[str] = frozenset()

    @property
    def planned(self) -> Progress:
        """The progress; the stage that plans comes first."""
        if self.progress is None:
            remedy = "put stage.restart_planned before it"
            raise StageError(Problem("", STEP, "no stage has planned it yet", remedy, code=REFUSED))
        return self.progress


def begin(run: Run, pillar: Mapping[str, Any]) -> Told:
    """Read the request, then begin as every job does; without a confirmation nothing will be changed.

    Args:
        run: the run.
        pillar: of the call: node, nodes, roles or all; upgrade, share, confirm, anew, drain_timeout_s.
    """
    request = Request.of(pillar)
    names = request.of_table(run.table)
    run.test = run.test or not request.confirmed
    run.arguments = plan_remove.example(request.pillar(**({"confirm": True} if request.confirmed else {})))
    earlier = Progress.resumed(record.runs(run.directory), names, request.upgrade, request.anew)
    run.restart = Restart(request, names, earlier)
    return stages.begin(run)


def _restart(run: Run) -> Restart:
    if run.restart is None:
        remedy = "put stage.restart_begun before it"
        raise StageError(Problem("", STEP, "no node was named", remedy, code=REFUSED))
    return run.restart


def planned(run: Run) -> Told:
    """It is known who restarts with whom, and nothing forbids it."""
    wanted = _restart(run)
    names = wanted.earlier.left(wanted.names) if wanted.earlier else wanted.names
    boots = _boots(run, names)
    progress = wanted.earlier or Progress(boots, wanted.request.upgrade)
    awaited = [name for name in names if progress.boots.get(name) and progress.under_way(name, boots.get(name))]
    picture = _pictured(run, [name for name in names if name not in awaited], boots)
    order = plan_restart.unwell_first(picture)
    if problems := plan_restart.refusals(picture, (*awaited, *order)):
        raise StageError(*problems)
    at_once = wanted.request.at_once(len(run.table.workers))
    batches = [(name,) for name in awaited] + plan_restart.batches(run.table, order, at_once)
    wanted.progress, wanted.order, wanted.awaited = progress, tuple(batches), frozenset(awaited)
    text = restart_report.plan(run.cluster.name, picture, wanted.request, progress, wanted.order)
    return Told(text, result=None if run.test else True)


def _boots(run: Run, names: Sequence[str]) -> dict[str, str]:
    """The boot of each node that answers, after it has this checkout's modules."""
    answering = removal.answering_of(run, names)
    asked = tuple(name for name in names if name in answering)
    if not asked:
        return {}
    readiness.synchronised(run, asked)
    step = Step("boots", "Boots", asked, Call(BOOT), deadline_s=removal.FACTS_S)
    return {name: str(answer.value) for name, answer in readiness.run_steps(run, [step])["boots"].answers.items()}


def _pictured(run: Run, names: Sequence[str], answering: Iterable[str]) -> Picture:
    """What is known of nodes that are to be restarted; of nobody else's restart is the cluster asked.

    Args:
        run: the run.
        names: who, in table order.
        answering: those that answer.
    """
    table = run.table
    silent = frozenset(names) - frozenset(answering)
    inside = [name for name in names if name in table.kubernetes]
    if not inside:
        return Picture(table, tuple(names), silent=silent)
    status = removal.membership(run, table.control_plane)
    source = _source(run, status, names)
    asked = list(dict.fromkeys([*inside, *table.control_plane]))
    standing, members = removal.reported(run, source, asked)
    return Picture(table, tuple(names), source, standing, status, members, silent)


def _source(run: Run, status: Mapping[str, Mapping[str, Any]], away: Sequence[str]) -> str:
    """The control-plane node to ask: rather one that stays, for one that restarts answers nothing meanwhile."""
    healthy = sorted((name for name in status if status[name].get("healthy")), key=lambda name: name in away)
    if not healthy:
        raise StageError(removal.nobody_to_ask(run, status, STEP))
    return healthy[0]


def restarted(run: Run, limits: Limits) -> Told:
    """Each node has restarted and serves again, one batch after the other.

    Args:
        run: the run.
        limits: seconds for each node.
    """
    wanted = _restart(run)
    progress, order = wanted.planned, wanted.order
    names = [name for batch in order for name in batch]
    if run.test:
        return Told(f"would restart, in this order: {', '.join(names) or 'nobody'}", result=None if names else True)
    _remember(run, progress)
    for number, batch in enumerate(order, start=1):
        where = f"{', '.join(batch)} ({number} of {len(order)})"
        if batch[0] not in wanted.awaited:
            run.tell(f"{where}: goes")
            _send_away(run, batch, limits)
        run.tell(f"{where}: comes back")
        _bring_back(run, batch, limits)
    return Told(f"restarted: {', '.join(names) or 'nothing was left to do'}", dict.fromkeys(names, "restarted"))


def _remember(run: Run, progress: Progress) -> None:
    """So that a run which goes on after this one was killed does not restart again what has restarted."""
    _restart(run).progress = progress
    if run.record:
        run.record.note(**{RECORDED: progress.data})


def _send_away(run: Run, batch: tuple[str, ...], limits: Limits) -> None:
    """The batch is emptied, upgraded if that is wished, and told to restart; asked anew, the plan may be old."""
    wanted, boots = _restart(run), _boots(run, batch)
    picture = _pictured(run, batch, boots)
    if problems := plan_restart.refusals(picture, batch):
        raise StageError(*problems)
    others = tuple(name for name in run.table.load_balancers if name not in batch)
    if others and batch[0] in run.table.load_balancers:
        readiness.run_steps(run, [plan_replace.up_step(others)])
    request = wanted.request
    job = run.new_job(plan_restart.departure(picture, request.upgrade, limits.upgrade_s, request.drain_s))
    if problems := job.run():
        raise StageError(*problems)
    noted = {name: job.outcomes.get(f"noted {name}") for name in batch}
    facts = {name: told.value() if told else {} for name, told in noted.items()}
    _remember(run, wanted.planned.ordering(boots, facts))
    try:
        readiness.run_steps(run, [plan_restart.ordered(batch)])
    except StageError:
        job.clean_up()
        raise
    job.commit()


def _bring_back(run: Run, batch: tuple[str, ...], limits: Limits) -> None:
    """Each node of the batch has restarted and serves again. Who does counts as done, whatever the others do."""
    problems = _restarting(run, batch, limits.boot_s)
    back = tuple(name for name in batch if name not in {problem.node for problem in problems})
    problems += _serving(run, back, limits) if back else []
    well = [name for name in back if name not in {problem.node for problem in problems}]
    _remember(run, _restart(run).planned.with_done(well))
    if problems:
        raise StageError(*problems)


def _restarting(run: Run, batch: tuple[str, ...], deadline_s: float) -> list[Problem]:
    """Wait until the batch answers out of another boot than at the beginning; who does not, and why."""
    boots = _restart(run).planned.boots
    seen: dict[str, str] = {}

    def is_another(answer: Returned) -> bool:
        if answer.ok:
            seen[answer.node] = str(answer.value)
        return answer.ok and str(answer.value) != boots[answer.node]

    run.answering -= set(batch)
    back = readiness.asked_until(run, batch, BOOT, is_another, deadline_s, "have restarted")
    return [_not_restarted(run, name, seen.get(name), deadline_s) for name in batch if name not in back]


def _not_restarted(run: Run, name: str, boot: str | None, deadline_s: float) -> Problem:
    if boot is None:
        cause = f"its restart was ordered, and its minion has not answered for {deadline_s:.0f} s"
        remedy = f"see its console; salt-cloud -a show_instance {name} (stopped: salt-cloud -a start {name}); "
        remedy += f"then {run.again}"
    else:
        cause = f"its restart was ordered, and after {deadline_s:.0f} s it still runs as before"
        remedy = f"salt {name} cmd.run 'systemctl list-jobs; journalctl -u saltern-restart -n 20'; then {run.again}"
    return Problem(name, STEP, cause, remedy, code=NOT_RESTARTED)


def _serving(run: Run, batch: tuple[str, ...], limits: Limits) -> list[Problem]:
    """What nodes that have restarted do not do as before; of the control plane and load balancers raised at once."""
    role = plan_restart.role_of(run.table, batch[0])
    if role == LOAD_BALANCER:
        readiness.run_steps(run, [plan_replace.up_step(batch)])
        return []
    if role == CONTROL_PLANE:
        wholeness.wait(run, batch[0], STEP, NOT_WHOLE, limits.whole_s)
        _behind_balancers(run, batch)
    status = removal.membership(run, run.table.control_plane)
    source = _source(run, status, batch)
    facts = _restart(run).planned.ordered
    steps = {name: plan_restart.taken_back(source, name, facts.get(name, {}), limits.pods_s) for name in batch}
    job = run.new_job(list(steps.values()))
    job.run()
    problems = {name: job.outcomes[step.key].problems for name, step in steps.items()}
    if role == CONTROL_PLANE and not problems[batch[0]]:
        readiness.run_steps(run, [plan_restart.turn_given_back(batch[0])])
    # The problem is the node's that has restarted, not that of the one that was asked.
    return [_of(name, problem) for name, found in problems.items() for problem in found]


def _behind_balancers(run: Run, batch: tuple[str, ...]) -> None:
    """An API server that is whole again is sent requests."""
    if balancers := run.table.load_balancers:
        back = plan_restart.directed_back(balancers, batch)
        up = replace(plan_replace.up_step(balancers, batch), after=(back.key,))
        readiness.run_steps(run, [back, up])


def _of(name: str, problem: Problem) -> Problem:
    return Problem(name, problem.step, problem.cause, problem.remedy, problem.state_id, code=problem.code)
