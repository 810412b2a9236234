"""The stages by which orchestrate.cluster_rebuild takes a cluster down; those of orchestrate.cluster then make it anew.

A teardown (:mod:`saltern.teardown`) whose machines are made again at once, so rows that the product wrote stay. A run
that was cut off after it does not begin with it again: its record says that the machines are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saltern import record, teardown
from saltern.plan import PlanError
from saltern.plan_remove import REFUSED, example
from saltern.plan_teardown import STEP
from saltern.run import Run, StageError, Told
from saltern.steps import Problem

BRING_UP = "orchestrate.cluster"
TAKEN_DOWN = "taken_down"  # in the record: when the last machine was gone
FORETOLD = "would then be done as orchestrate.cluster does it on machines that have just been made"


@dataclass
class Rebuild:
    """A rebuild under way: when an earlier run of it had taken the cluster down, "" when none has."""

    taken_down: str = ""


def begin(run: Run, pillar: Mapping[str, Any]) -> Told:
    """Read the request, then begin as every job does; unless the pillar names the cluster nothing will be changed.

    Args:
        run: the run.
        pillar: of the call: confirm (the cluster's name).
    """
    if "keep_machines" in pillar:
        again = example({"confirm": run.cluster.name})
        raise PlanError(
            f"keep_machines is for orchestrate.cluster_remove; a rebuild makes all machines: {again}", REFUSED
        )
    run.rebuild = Rebuild(taken_down_at(record.runs(run.directory), run.orchestration))
    told = teardown.begin(run, pillar, rebuild=True)
    if run.record and run.rebuild.taken_down:  # the earlier record may be dropped before this run ends
        run.record.note(**{TAKEN_DOWN: run.rebuild.taken_down})
    return told


def taken_down_at(runs: Iterable[Mapping[str, Any]], job: str) -> str:
    """When a rebuild took the cluster down that has not been brought up since; "" when there is none.

    Args:
        runs: the records, newest first.
        job: the rebuild's name.
    """
    for run in runs:
        if run["job"] in (job, BRING_UP) and run["result"] == record.SUCCEEDED:
            return ""
        if run["job"] == job and run.get(TAKEN_DOWN):
            return str(run[TAKEN_DOWN])
    return ""


def _rebuild(run: Run) -> Rebuild:
    if run.rebuild is None:
        remedy = "put stage.rebuild_begun before it"
        raise StageError(Problem("", STEP, "nothing was asked for", remedy, code=REFUSED))
    return run.rebuild


def planned(run: Run, salt_cloud: Sequence[str]) -> Told:
    """It is known what goes and what is lost; nothing more when the cluster is down already.

    Args:
        run: the run.
        salt_cloud: the command with its configuration.
    """
    at = _rebuild(run).taken_down
    if at:
        return Told(f"goes on: {run.cluster.name} was taken down at {at}, and has not been brought up since")
    return teardown.planned(run, salt_cloud)


def taken_down(run: Run, salt_cloud: Sequence[str], deadline_s: float) -> Told:
    """The machines of the table are destroyed with their disks.

    Args:
        run: the run.
        salt_cloud: the command with its configuration.
        deadline_s: seconds for the machines of one role.
    """
    if at := _rebuild(run).taken_down:
        return Told(f"was done at {at}")
    told = teardown.machines_gone(run, salt_cloud, deadline_s)
    if run.test:
        # What the stages of a bring-up would find now is the cluster that would be gone.
        run.foretold = FORETOLD
    if run.record:
        run.record.note(**{TAKEN_DOWN: record.timestamp()})
    return told
