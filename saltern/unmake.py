"""Destroy machines by salt-cloud, as an operator would, and make sure that nothing of them is left on the master."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from saltern.machines import NO_SALT_CLOUD, asked, ended, follow, json_in
from saltern.proxmox.journal import Journal, Record
from saltern.rows import KEPT_VARIABLE, Rows
from saltern.run import Run, StageError, Told
from saltern.steps import Problem

CODE = "machine-not-destroyed"
# What became of a name: {name: one of these}.
DESTROYED, CLEANED = "destroyed", "cleaned up after an unfinished create of"


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


def left_behind(run: Run, machines: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """What creates have left that died, or that still run, by the machine's name, as phrases.

    Proxmox need not have a machine of such a name (yet): its seed image, with a private key, its accepted key and its
    address are there all the same. A name without a row under which somebody else has made a machine is left out: to
    destroy it would take that one.

    Args:
        run: for its definition and the records of creates.
        machines: as :func:`existing` gives them.
    """
    return {
        name: record.told
        for name, record in _records(run).items()
        if name in run.cluster.nodes or name not in machines or machines[name].get("id") == record.vmid
    }


def _records(run: Run) -> dict[str, Record]:
    return Journal(Path(run.state_dir) / run.cluster.name / "machines").begun()


def destroy(
    run: Run, salt_cloud: Sequence[str], names: Sequence[str], deadline_s: float, rows_stay: bool = False
) -> dict[str, str]:
    """Destroy machines with their disks and seed images; then their minion keys and the rows that the product wrote.

    A name without a machine of which a create has left something is destroyed as well: that removes what is left.

    Args:
        run: for its progress lines, its definition and the master's keys.
        salt_cloud: the command with its configuration.
        names: which; those of which there is nothing are no error.
        deadline_s: seconds for all of them together.
        rows_stay: they are made again, so the rows that the product wrote stay.

    Returns:
        What became of those of which there was something.

    Raises:
        StageError: per machine, why it could not be destroyed. Keys and rows of the others are gone.
    """
    there = dict.fromkeys((name for name in _records(run) if name in names), CLEANED)
    # Asked last, and what it knows counts: a create that ends in between has a machine, and no record any more.
    machines = existing(run, salt_cloud)
    there |= dict.fromkeys((name for name in names if name in machines), DESTROYED)
    deadline = run.clock() + deadline_s
    failed: list[Problem] = []
    for name in names:
        left_s = deadline - run.clock()
        problem = _destroyed(run, salt_cloud, name, left_s, rows_stay) if name in there else None
        if problem:
            failed.append(problem)
            continue
        run.master.forget_key(name)
        if not rows_stay:
            Rows(run.state_dir, run.cluster.name).remove(name)
    if failed:
        raise StageError(*failed)
    return there


def told(gone: Mapping[str, str], nothing: str) -> Told:
    """What :func:`destroy` returned, for the operator; `nothing` is said when there was nothing."""
    parts = [
        f"{what} {', '.join(names)}"
        for what in (DESTROYED, CLEANED)
        if (names := [name for name, became in gone.items() if became == what])
    ]
    return Told("; ".join(parts) or nothing, dict(gone))


def _destroyed(run: Run, salt_cloud: Sequence[str], name: str, left_s: float, row_stays: bool) -> Problem | None:
    """Have one machine destroyed; why that failed, or None.

    One at a time: of several in parallel (-P) salt-cloud removes the keys even of those that it could not destroy.
    """
    command = [*salt_cloud, "-d", "-y", name, "--out=json"]
    code, out, err = follow(run, command, left_s, {KEPT_VARIABLE: name} if row_stays else {})
    if code == 0 and name in dict(_entries(out)):
        return None
    whole = ended(run.again, command, code or 0, err or out)
    remedy = f"{run.again} (what is gone stays gone; salt-cloud -Q lists what is there)"
    return replace(whole, node=name, remedy=remedy, code=CODE if whole.code == NO_SALT_CLOUD else whole.code)


def _entries(out: str) -> Iterator[tuple[str, Any]]:
    """(name, entry) of each machine in ``{provider: {driver: {name: entry}}}``."""
    for drivers in json_in(out).values():
        for machines in drivers.values() if isinstance(drivers, Mapping) else ():
            yield from machines.items() if isinstance(machines, Mapping) else ()
