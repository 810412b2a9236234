"""The stages of orchestrate.node_remove: who leaves and what moves, pods moved, machines gone, Nodes gone.

As in :mod:`saltern.stages` every function takes the run and tells, or raises one of ``saltern.run.EXPECTED``. A run
that is not confirmed is one in test mode: it looks, and says what it would do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from saltern import diagnosis, haproxy, plan_remove, readiness, removal_report, source, stages, unmake
from saltern.answers import STATE_FUNCTIONS
from saltern.job import Job
from saltern.model import Cluster
from saltern.plan import CONTROL_PLANE, WORKER
from saltern.plan_remove import NONE, OWN, REFUSED, STEP, WRITTEN, Leaving, Picture, Request
from saltern.rows import Rows
from saltern.run import Run, StageError, Told
from saltern.steps import Call, Outcome, Problem, Step

# How long a minion may take to answer before it counts as silent, on a loaded machine. Seconds.
ANSWER_S = 15.0
FACTS_S = 60.0


@dataclass
class Removal:
    """A removal under way: what was asked for, and what is known of it since it was planned."""

    request: Request
    picture: Picture | None = None

    @property
    def planned(self) -> Picture:
        """The picture; the stage that plans comes first."""
        if self.picture is None:
            remedy = "put stage.removal_planned before it"
            raise StageError(Problem("", STEP, "no stage has planned it yet", remedy, code=REFUSED))
        return self.picture


def begin(run: Run, pillar: Mapping[str, Any]) -> Told:
    """Read the request, then begin as every job does; without a confirmation nothing will be changed.

    Args:
        run: the run.
        pillar: of the call: node or nodes, confirm, force, drain_timeout_s.
    """
    request = Request.of(pillar)
    run.removal = Removal(request)
    run.test = run.test or not request.confirmed
    run.arguments = plan_remove.example(request.pillar(**({"confirm": True} if request.confirmed else {})))
    return stages.begin(run)


def planned(run: Run, salt_cloud: Sequence[str]) -> Told:
    """It is known who leaves, what moves and what goes, and nothing forbids it.

    Args:
        run: the run.
        salt_cloud: the command with its configuration.
    """
    removal = _removal(run)
    removal.picture = pictured(run, salt_cloud, removal.request.names)
    problems = plan_remove.refusals(removal.picture, removal.request.force)
    if problems:
        raise StageError(*problems)
    text = removal_report.plan(run.cluster.name, removal.picture, removal.request)
    return Told(text, result=None if run.test else True)


def _removal(run: Run) -> Removal:
    if run.removal is None:
        raise StageError(Problem("", STEP, "no node was named", "put stage.removal_begun before it", code=REFUSED))
    return run.removal


def pictured(run: Run, salt_cloud: Sequence[str], names: Sequence[str], all_at_once: bool = True) -> Picture:
    """What is known of nodes that are to leave. Raises StageError for names that are nobody's.

    Args:
        run: the run.
        salt_cloud: the command with its configuration.
        names: of the nodes.
        all_at_once: they leave together, so none of them can be asked for the rest.
    """
    status = membership(run, [name for name in run.table.control_plane if not (all_at_once and name in names)])
    origin = whom_to_ask(run, status, names)
    standing, members = reported(run, origin, names)
    machines = unmake.existing(run, salt_cloud)
    left = unmake.left_behind(run, machines)
    unknown = [name for name in names if name not in left and not _known(run, name, standing, members)]
    if unknown:
        raise StageError(*(_unknown(name) for name in unknown))
    running = answering_of(run, [name for name in names if name not in machines])
    in_etcd = {member["name"] for member in members}
    known = [_leaving(run, name, standing.get(name, {}), machines.get(name), name in in_etcd) for name in names]
    leaving = tuple(replace(node, answers=node.name in running, left=left.get(node.name, ())) for node in known)
    return Picture(run.table, leaving, origin, members, balancers(run.cluster, leaving), status)


def membership(run: Run, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What ``kubeadm.status`` says on each of these nodes that answers."""
    answering = answering_of(run, names)
    asked = tuple(name for name in names if name in answering)
    if not asked:
        return {}
    readiness.synchronised(run, asked)
    step = Step("status", "Cluster membership", asked, Call("kubeadm.status"), deadline_s=FACTS_S)
    return {name: answer.value for name, answer in readiness.run_steps(run, [step])["status"].answers.items()}


def whom_to_ask(run: Run, status: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> str:
    """The first healthy control-plane node; for load balancers, which may be why none is, the first member.

    Raises StageError when there is none.
    """
    enough = "healthy" if in_kubernetes(run, names) else "joined"
    found = [name for name in run.table.control_plane if status.get(name, {}).get(enough)]
    if found:
        return found[0]
    candidates = [name for name in run.table.control_plane if name not in names]
    who = ", ".join(candidates) or "every control-plane node is to leave"
    raise StageError(nobody_to_ask(run, status, STEP, "would stay that is", f"({who}) "))


def nobody_to_ask(
    run: Run, status: Mapping[str, Mapping[str, Any]], step: str, which: str = "is", who: str = ""
) -> Problem:
    """No control-plane node is healthy, so nothing can be asked of the cluster; ``step`` is what was to be done."""
    lost = diagnosis.of_status(status, run.table.control_plane)
    cause = f"no control-plane node {which} healthy{lost.note}: nothing could be asked of the cluster"
    remedy = f"{who}see: salt-run cluster.status; when etcd has lost its quorum, a {step.lower()} makes it worse"
    return Problem("", step, cause, remedy, code=lost.code)


def in_kubernetes(run: Run, names: Iterable[str]) -> list[str]:
    """Those of the names that the cluster may know: all but the load balancers."""
    return [name for name in names if name not in run.table.load_balancers]


def answering_of(run: Run, names: Sequence[str]) -> set[str]:
    """Whose minions answer; of those without an accepted key none can, so these are not waited for."""
    accepted = run.master.keys().accepted
    return readiness.answers(run, [name for name in names if name in accepted], ANSWER_S)


def reported(run: Run, origin: str, names: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the cluster says of the nodes, and of etcd's members; for load balancers alone the API is not needed."""
    asked = in_kubernetes(run, names)
    if not asked:
        return {}, []
    steps = [
        Step("standing", "What the nodes carry", (origin,), Call("kube_node.standing", kwarg={"names": asked})),
        Step("members", "etcd's members", (origin,), Call("etcd_member.standing")),
    ]
    outcomes = readiness.run_steps(run, steps)
    return outcomes["standing"].value(), outcomes["members"].value()


def _known(run: Run, name: str, standing: Mapping[str, Any], members: Sequence[Mapping[str, Any]]) -> bool:
    in_etcd = any(member["name"] == name for member in members)
    return name in run.cluster.nodes or in_etcd or bool(standing[name]["registered"])


def _unknown(name: str) -> Problem:
    cause = "neither the table, nor the cluster, nor etcd has a node of this name: it is gone, or the name is wrong"
    return Problem(name, STEP, cause, "salt-run cluster.status names the nodes", code=REFUSED)


def _leaving(
    run: Run, name: str, facts: Mapping[str, Any], machine: Mapping[str, Any] | None, in_etcd: bool = False
) -> Leaving:
    """A node by its row; without one, as the cluster knows it (etcd's members are control-plane nodes).

    One that nobody knows but the record of its create is a worker: no other is made without a row.
    """
    row = run.cluster.nodes.get(name)
    if row is None:
        role = facts["role"] or (CONTROL_PLANE if in_etcd else WORKER)
        return Leaving(name, role, facts["address"] or "", NONE, facts=facts, machine=machine)
    place = source.read([Path(directory) for directory in run.pillar_dirs], run.state_dir).place(("nodes", name))
    at = f"{place.file}:{place.line}" if place else ""
    written = place is not None and place.file == Rows(run.state_dir, run.cluster.name).path(name)
    return Leaving(name, row.role, str(row.address), WRITTEN if written else OWN, at, facts, machine)


def balancers(cluster: Cluster, leaving: Iterable[Leaving]) -> dict[str, dict[str, Any]]:
    """The HAProxy settings without the nodes that leave, for each load balancer that stays and has such servers."""
    names = {node.name for node in leaving}
    rest = cluster.model_copy(update={"nodes": {name: row for name, row in cluster.nodes.items() if name not in names}})
    settings = {row.name: (haproxy.build(cluster, row), haproxy.build(rest, row)) for row in rest.load_balancers}
    return {name: after for name, (before, after) in settings.items() if after != before}


def reached(run: Run, stage: str) -> Told:
    """The steps of one stage before the machines go have succeeded (see saltern.plan_remove.departure)."""
    removal = _removal(run)
    steps = plan_remove.departure(removal.planned, removal.request.drain_s)
    mine = [step for step in steps if step.stage == stage]
    if run.test:
        return foretold(mine)
    if run.job is None:
        run.job = run.new_job(steps)
    if problems := run.job.run(until=[step.key for step in mine]):
        raise StageError(*problems)
    return told(run.job.outcomes[step.key] for step in mine)


def machines_gone(run: Run, salt_cloud: Sequence[str], deadline_s: float) -> Told:
    """The machines are destroyed with their disks, their minion keys are gone, and the rows that the product wrote.

    Args:
        run: the run.
        salt_cloud: the command with its configuration.
        deadline_s: seconds for all machines together.
    """
    names = _removal(run).planned.names
    if run.test:
        return Told(f"would destroy the machines of {', '.join(names)}", result=None)
    return unmake.told(destroyed(run, run.job, salt_cloud, names, deadline_s), "no such machine")


def destroyed(
    run: Run,
    job: Job | None,
    salt_cloud: Sequence[str],
    names: Sequence[str],
    deadline_s: float,
    rows_stay: bool = False,
) -> dict[str, str]:
    """Destroy the machines that a job has emptied; its cordons are given back when that fails.

    Args:
        run, salt_cloud, names, deadline_s, rows_stay: as for :func:`saltern.unmake.destroy`.
        job: the job of their departure; None when nothing was to be done.

    Returns: as :func:`saltern.unmake.destroy`.
    """
    try:
        gone = unmake.destroy(run, salt_cloud, names, deadline_s, rows_stay)
    except StageError:
        if job:
            job.clean_up()
        raise
    if job:
        job.commit()
    return gone


def forgotten(run: Run) -> Told:
    """The cluster has no Nodes of these names any more, and the hosts files do not name what the table does not."""
    picture = _removal(run).planned
    steps = plan_remove.forgetting(picture)
    if run.test:
        return foretold(steps)
    done = told(readiness.run_steps(run, steps).values())
    return Told("\n".join([done.comment, *removal_report.rows_left(picture)]), done.changes)


def foretold(steps: Sequence[Step]) -> Told:
    """What would be done; a stage without steps has nothing to say in test mode either."""
    titles = [step.title for step in steps if not step.undo]
    return Told(f"would do: {'; '.join(titles)}", result=None) if titles else Told("nothing to do")


def told(outcomes: Iterable[Outcome]) -> Told:
    """What was done, by the titles of the steps; a step whose node returned an empty answer had nothing to do."""
    done = list(outcomes)
    changes: dict[str, list[str]] = {}
    for outcome in done:
        for node, answer in outcome.answers.items():
            items = answer.changed or ([] if answer.value in ([], {}) or _of_states(outcome) else [outcome.step.title])
            changes.setdefault(node, []).extend(items)
    told = "; ".join(outcome.step.title for outcome in done) or "nothing to do"
    return Told(told, {node: items for node, items in changes.items() if items})


def _of_states(outcome: Outcome) -> bool:
    """Whether a step ran states, which say themselves what changed."""
    return isinstance(outcome.step.call, Call) and outcome.step.call.function in STATE_FUNCTIONS
