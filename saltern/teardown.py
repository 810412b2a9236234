"""The stages of orchestrate.cluster_remove: what goes, the cluster off its machines, the machines themselves.

As in :mod:`saltern.removal`: a run that is not confirmed is one in test mode.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saltern import plan_teardown, readiness, stages, unmake
from saltern.plan_remove import REFUSED, example
from saltern.plan_teardown import STEP, Picture, Request
from saltern.removal import FACTS_S, answering_of, foretold, told
from saltern.removal_report import left_line
from saltern.rows import Rows
from saltern.run import Run, StageError, Told
from saltern.steps import Call, Problem, Step

INDENT = "  "


@dataclass
class Teardown:
    """A teardown under way: what was asked for, and what is known since it was planned."""

    request: Request
    picture: Picture | None = None
    rebuild: bool = False


def begin(run: Run, pillar: Mapping[str, Any], rebuild: bool = False) -> Told:
    """Read the request, then begin as every job does; unless the pillar names the cluster nothing will be changed.

    Args:
        run: the run.
        pillar: of the call: confirm (the cluster's name), keep_machines.
        rebuild: the machines are made again at once, so rows that the product wrote stay.
    """
    request = Request.of(pillar, run.cluster.name)
    run.teardown = Teardown(request, rebuild=rebuild)
    run.test = run.test or not request.confirmed
    run.arguments = example(request.pillar(run.cluster.name)) if request.confirmed else ""
    return stages.begin(run)


def planned(run: Run, salt_cloud: Sequence[str]) -> Told:
    """It is known what goes and what is lost.

    Args:
        run: the run.
        salt_cloud: the command with its configuration.
    """
    request = _teardown(run).request
    answering = answering_of(run, run.table.all)
    silent = tuple(name for name in run.table.all if name not in answering)
    source = _source(run, tuple(name for name in run.table.control_plane if name in answering))
    found = unmake.existing(run, salt_cloud)
    machines = {name: row for name, row in found.items() if name in run.table.all}
    verified = run.cluster.verification.enabled
    addresses = {name: str(row.address) for name, row in run.cluster.nodes.items()}
    left = unmake.left_behind(run, found)
    picture = Picture(run.table, source, addresses, verified, _standing(run, source), machines, left, silent)
    _teardown(run).picture = picture
    if request.keep_machines and silent:
        raise StageError(*(_unclean(name) for name in silent))
    return Told("\n".join(_lines(run, picture, _teardown(run))), result=None if run.test else True)


def _teardown(run: Run) -> Teardown:
    if run.teardown is None:
        raise StageError(Problem("", STEP, "nothing was asked for", "put stage.teardown_begun before it", code=REFUSED))
    return run.teardown


def _picture(run: Run) -> Picture:
    picture = _teardown(run).picture
    if picture is None:
        remedy = "put stage.teardown_planned before it"
        raise StageError(Problem("", STEP, "no stage has planned it yet", remedy, code=REFUSED))
    return picture


def _source(run: Run, asked: tuple[str, ...]) -> str:
    """A healthy control-plane node, "" when there is none. Every node gets this checkout's modules."""
    if not asked:
        return ""
    readiness.synchronised(run, asked)
    step = Step("status", "Cluster membership", asked, Call("kubeadm.status"), deadline_s=FACTS_S)
    answers = readiness.run_steps(run, [step])["status"].answers
    return next((name for name in asked if answers[name].value.get("healthy")), "")


def _standing(run: Run, source: str) -> dict[str, Any]:
    if not source:
        return {}
    call = Call("kube_node.standing", kwarg={"names": list(run.table.kubernetes)})
    step = Step("standing", "What the nodes carry", (source,), call, deadline_s=FACTS_S)
    return dict(readiness.run_steps(run, [step])["standing"].value())


def _unclean(name: str) -> Problem:
    cause = "its minion does not answer, so the cluster cannot be taken off it"
    remedy = f"bring it back (salt-cloud -a start {name}), or destroy the machines: without keep_machines"
    return Problem(name, STEP, cause, remedy, code="minion-silent")


def _lines(run: Run, picture: Picture, teardown: Teardown) -> Iterator[str]:
    """What an operator reads before a cluster goes."""
    name, table, request = run.cluster.name, picture.table, teardown.request
    yield f"{'Rebuild' if teardown.rebuild else 'Teardown'} of {name}: {len(table.all)} nodes."
    yield "what goes:"
    if request.keep_machines:
        yield f"{INDENT}the cluster, off the machines {', '.join(table.all)}, which stay as they were before it"
    else:
        missing = [node for node in table.all if node not in picture.machines]
        rows = [row for row in Rows(run.state_dir, name).rows() if row in table.all]
        yield from (f"{INDENT}machine {row['id']} ({node}) with its disks" for node, row in picture.machines.items())
        yield from (f"{INDENT}{left_line(*each)}" for each in sorted(picture.left.items()))
        yield f"{INDENT}minion keys of {', '.join(table.all)}"
        yield from [f"{INDENT}rows that the product wrote: {', '.join(rows)}"] if rows and not teardown.rebuild else []
        yield from [f"{INDENT}no machine on Proxmox: {', '.join(missing)}"] if missing else []
    yield "what is lost:"
    yield f"{INDENT}every object of the cluster: etcd is wiped with its nodes"
    yield from (f"{INDENT}{line}" for line in _lost(picture))
    yield "what stays:"
    maker = "this run" if teardown.rebuild else "orchestrate.cluster"
    yield f"{INDENT}the table: {maker} makes the cluster anew from it"
    if not request.confirmed:
        again = f"salt-run state.orchestrate {run.orchestration} {example(request.pillar(name))}"
        yield f"Nothing was changed. To do it: {again}"


def _lost(picture: Picture) -> Iterator[str]:
    if not picture.source:
        yield "no control-plane node is healthy, so it is not known what runs on the cluster"
        return
    counted: Counter[str] = Counter()
    for facts in picture.standing.values():
        counted.update(pod["namespace"] for pod in facts["moves"])
        counted.update(title.partition("/")[0] for title in facts["alone"])
        yield from (f"persistent volume {volume}" for volume in facts["volumes"])
    if counted:
        yield "pods: " + ", ".join(f"{namespace} {count}" for namespace, count in sorted(counted.items()))


def reached(run: Run, stage: str) -> Told:
    """The steps of one stage have succeeded (see saltern.plan_teardown); none when the machines are destroyed."""
    picture = _picture(run)
    if not _teardown(run).request.keep_machines:
        return Told("not needed: the machines are destroyed")
    steps = plan_teardown.steps(picture)
    mine = [step for step in steps if step.stage == stage]
    if run.test:
        return foretold(mine)
    if run.job is None:
        run.job = run.new_job(steps)
    if problems := run.job.run(until=[step.key for step in mine]):
        raise StageError(*problems)
    return told(run.job.outcomes[step.key] for step in mine)


def machines_gone(run: Run, salt_cloud: Sequence[str], deadline_s: float) -> Told:
    """The machines of the table are destroyed with their disks: workers, control plane, load balancers.

    Before them goes what an unfinished create has left of a name that has no row (yet): a new worker's.

    Args:
        run: the run.
        salt_cloud: the command with its configuration.
        deadline_s: seconds for the machines of one role.
    """
    picture = _picture(run)
    table = picture.table
    if _teardown(run).request.keep_machines:
        return Told("the machines are kept")
    rowless = sorted(set(picture.left) - set(table.all))
    if run.test:
        return Told(f"would destroy {', '.join((*rowless, *table.all))}", result=None)
    gone: dict[str, str] = {}
    for names in (rowless, table.workers, table.control_plane, table.load_balancers):
        gone |= unmake.destroy(run, salt_cloud, names, deadline_s, rows_stay=_teardown(run).rebuild)
    return unmake.told(gone, "no such machines")
