"""Destroy machines by salt-cloud, as an operator would, and make sure that nothing of them is left on the master."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from saltern import runbooks
from saltern.machines import asked, ended, follow, json_in
from saltern.rows import Rows
from saltern.run import Run, StageError
from saltern.steps import Problem

STEP = "Machine"
CODE = "machine-not-destroyed"


def existing(run: Run, salt_cloud: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The machines that Proxmox has: {name: {id, state}}.

    Args:
        run: for its definition and its remedy.
        salt_cloud: the command with its configuration.

    Raises:
        StageError: Proxmox, or salt-cloud, could not be asked.
    """
    out = asked(run, [*salt_cloud, "-f", "list_nodes_min", run.cluster.proxmox.provider, "--out=json"])
    return {name: dict(entry) for name, entry in _entries(out) if isinstance(entry, Mapping)}


def destroy(run: Run, salt_cloud: Sequence[str], names: Sequence[str], deadline_s: float) -> list[str]:
    """Destroy machines with their disks and seed images; then their minion keys and the rows that the product wrote.

    Args:
        run: for its progress lines, its definition and the master's keys.
        salt_cloud: the command with its configuration.
        names: which; those that Proxmox does not have are no error.
        deadline_s: seconds for all of them together.

    Returns:
        The machines that were there.

    Raises:
        StageError: per machine, why it could not be destroyed. Keys and rows of the others are gone.
    """
    machines = existing(run, salt_cloud)
    there = [name for name in names if name in machines]
    failed = _destroyed(run, salt_cloud, there, deadline_s) if there else []
    for name in (name for name in names if name not in {problem.node for problem in failed}):
        run.master.forget_key(name)
        Rows(run.state_dir, run.cluster.name).remove(name)
    if failed:
        raise StageError(*failed)
    return there


def _destroyed(run: Run, salt_cloud: Sequence[str], names: Sequence[str], deadline_s: float) -> list[Problem]:
    command = [*salt_cloud, "-d", "-P", "-y", *names, "--out=json"]
    code, out, err = follow(run, command, deadline_s)
    done = dict(_entries(out))
    problems = [_of_driver(run, name, str(done[name]["Error"])) for name in names if _failed(done.get(name))]
    whole = ended(run.again, command, code or 0, err or out)
    return problems + [replace(whole, node=name) for name in names if name not in done]


def _entries(out: str) -> Iterator[tuple[str, Any]]:
    """(name, entry) of each machine in ``{provider: {driver: {name: entry}}}``."""
    for drivers in json_in(out).values():
        for machines in drivers.values() if isinstance(drivers, Mapping) else ():
            yield from machines.items() if isinstance(machines, Mapping) else ()


def _failed(entry: Any) -> bool:
    return isinstance(entry, Mapping) and "Error" in entry


def _of_driver(run: Run, name: str, error: str) -> Problem:
    """What the driver says about one machine: it names the runbook itself."""
    cause, code = runbooks.split(error)
    remedy = f"{run.again} (what is gone stays gone; salt-cloud -Q lists what is there)"
    return Problem(name, STEP, cause, remedy, code=code or CODE)
