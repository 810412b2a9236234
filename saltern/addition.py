"""The stages of orchestrate.node_add: who comes, nothing stands in the way, prepared, joined, Ready.

As in :mod:`saltern.stages` every function takes the run and tells, or raises one of ``saltern.run.EXPECTED``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saltern import diagnosis, plan_add, readiness, record, stages
from saltern.arrivals import Arrivals, Turn
from saltern.plan_add import CODE, STEP, Picture, Request
from saltern.record import LockedError
from saltern.run import Run, StageError, Ticker, Told
from saltern.run import told as told_of
from saltern.steps import Call, Problem, Step

REACTOR = "the reactor"
# One look at the lock. Seconds.
LOOK_EVERY_S = 1.0
FACTS_S = 60.0


@dataclass
class Addition:
    """An addition under way: what was asked for, who that is, and what is known since it was checked."""

    request: Request
    names: tuple[str, ...] = ()
    picture: Picture | None = None

    @property
    def checked(self) -> Picture:
        """The picture; the stage that checks comes first."""
        if self.picture is None:
            raise StageError(
                Problem("", STEP, "no stage has checked it yet", "put stage.addition_checked before it", code=CODE)
            )
        return self.picture


NOBODY = "nobody is to be added: the machines that were announced are no workers of the table any more"


def begin(run: Run, pillar: Mapping[str, Any]) -> Told:
    """Read the request, wait for other operations on the cluster to end, then begin as every job does.

    A control-plane node waits for nobody: whoever adds one shall know that another operation changes the cluster.

    Args:
        run: the run.
        pillar: of the call: node or nodes, wait_s; of the reactor's call: automatic, turn.
    """
    request = Request.of(pillar)
    turn = Turn(request.turn)
    run.addition = Addition(request)
    run.arguments = plan_add.example(request.pillar)
    if problems := list(plan_add.name_problems(run.table, request.names)):
        raise StageError(*problems)
    if request.automatic:
        run.user = REACTOR
    told = _begun(run, request)
    # In this order: who is announced from now on finds the turn free, and takes it.
    turn.close()
    run.addition.names = _names(run, request)
    return told


def _begun(run: Run, request: Request) -> Told:
    """Begin once nobody else is at work. Raises LockedError when that is not so in time."""
    patient = not run.test and not set(request.names) & set(run.table.control_plane)
    deadline = run.clock() + (request.wait_s if patient else 0.0)
    while True:
        _wait_until_free(run, deadline)
        run.reread()  # the operation that was waited for may have changed the table
        try:
            return stages.begin(run)
        except LockedError:  # somebody was faster
            if run.clock() >= deadline:
                raise


def _wait_until_free(run: Run, deadline: float) -> None:
    owner: Mapping[str, Any] | None = {}
    ticker = Ticker(run, lambda: f"waits for {owner.get('user')}'s {owner.get('job')}" if owner else "")
    while run.clock() < deadline and (owner := record.holder(run.directory)) is not None:
        list(run.master.events(LOOK_EVERY_S))
        ticker()


def _names(run: Run, request: Request) -> tuple[str, ...]:
    """Who is to be added: who was named, and in a reactor's call also all that were announced by now."""
    if not request.automatic:
        return request.names
    announced = Arrivals(run.directory).take()
    run.reread()  # a row is written before its machine is announced
    return tuple(name for name in dict.fromkeys((*request.names, *announced)) if name in run.table.workers)


def answer(run: Run, deadline_s: float) -> Told:
    """The new nodes' minions answer and have modules and pillar; it is known which control-plane node can be asked.

    Args:
        run: the run.
        deadline_s: seconds for the minions of machines that have just started.
    """
    names = _addition(run).names
    if not names:
        return Told(NOBODY)
    others = [name for name in run.table.control_plane if name not in names]
    run.answering = readiness.answers(run, [*names, *others], readiness.PING_EVERY_S)
    return readiness.minions_answer(run, deadline_s, names)


def check(run: Run) -> Told:
    """Nothing stands in the way on the new nodes, and the cluster can take them in."""
    addition = _addition(run)
    names = addition.names
    if not names:
        return Told(NOBODY)
    source, status = _asked(run, [name for name in run.table.control_plane if name not in names])
    told = readiness.preflight(run, names)
    table = run.table
    picture = Picture(
        table,
        names,
        source,
        status | {name: run.status.get(name, {}) for name in names},
        run.master.keys().accepted,
        _members(run, source) if set(names) & set(table.control_plane) else (),
        {name: str(row.address) for name, row in run.cluster.nodes.items()},
        ingress=run.cluster.haproxy.ingress is not None,
    )
    if problems := plan_add.refusals(picture):
        raise StageError(*problems)
    addition.picture = picture
    return Told(f"{told.comment}; asked for the rest: {source}")


def _asked(run: Run, candidates: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The first healthy control-plane node, and what each that answers says of itself. Raises StageError for none."""
    asked = tuple(name for name in candidates if name in run.answering)
    step = Step("status", "Cluster membership", asked, Call("kubeadm.status"), deadline_s=FACTS_S)
    job = run.new_job([step])
    failed = {problem.node for problem in job.run()}
    answers = job.outcomes["status"].answers
    status = {name: answers[name].value for name in asked if name in answers and name not in failed}
    healthy = [name for name in asked if status.get(name, {}).get("joined") and status[name].get("healthy")]
    if not healthy:
        found = diagnosis.of_status(status, candidates)
        cause = f"no control-plane node of the cluster is healthy{found.note}: there is nothing to add a node to"
        remedy = "see: salt-run cluster.status; a cluster that does not exist yet: "
        remedy += "salt-run state.orchestrate orchestrate.cluster"
        raise StageError(Problem("", STEP, cause, remedy, code=found.code))
    return healthy[0], status


def _members(run: Run, source: str) -> list[dict[str, Any]]:
    """etcd's members and their health, after the source has this checkout's modules."""
    readiness.synchronised(run, [source])
    step = Step("members", "etcd's members", (source,), Call("etcd_member.standing"), deadline_s=FACTS_S)
    members: list[dict[str, Any]] = readiness.run_steps(run, [step])["members"].value()
    return members


def reached(run: Run, stage: str) -> Told:
    """The steps of one stage of the addition (see saltern.plan_add.ORDER) have succeeded."""
    addition = _addition(run)
    if not addition.names:
        return Told(NOBODY)
    steps = plan_add.steps(addition.checked)
    mine = [step for step in steps if step.stage == stage]
    if run.test:
        return stages.foretold(mine)
    if run.job is None:
        run.job = run.new_job(steps)
    if problems := run.job.run(until=[step.key for step in mine]):
        raise StageError(*problems)
    return told_of([run.job.outcomes[step.key] for step in mine])


def completed(run: Run) -> None:
    """All steps of the addition have succeeded, for a job that has other stages."""
    readiness.run_steps(run, plan_add.steps(_addition(run).checked))


def _addition(run: Run) -> Addition:
    if run.addition is None:
        raise StageError(Problem("", STEP, "no node was named", "put stage.addition_begun before it", code=CODE))
    return run.addition
