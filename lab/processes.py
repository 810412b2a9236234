"""Processes that outlive the command that started them: how they are started, recognised and ended.

A record names a process by PID and start time, so that a PID that was given to another program since is never touched.
"""

import json
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError


@dataclass(frozen=True)
class Process:
    """A process by PID and start time.

    Attributes:
        pid: its process ID.
        started: its start time, in clock ticks since boot (field 22 of /proc/PID/stat, proc(5)).
    """

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """The process that has this PID now; None when there is none, or only a zombie."""
        started = start_ticks(pid)
        return None if started is None else cls(pid, started)

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return start_ticks(self.pid) == self.started


def start_ticks(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None when it has ended (a zombie has).

    Source: proc(5). The command's name in the second field may hold blanks and parentheses: split after the last one.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def record(path: Path, process: Process) -> None:
    """Write the record of a process, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"pid": process.pid, "started": process.started}))
    partial.rename(path)


def recorded(path: Path) -> Process | None:
    """The running process that a record names; None when there is no record or its process has ended.

    Raises:
        LabError: the record cannot be read.
    """
    try:
        data = json.loads(path.read_text())
        process = Process(int(data["pid"]), int(data["started"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as err:
        raise LabError(f"{path}: not a record of a process ({err}); remove the file and type `make down`") from err
    return process if process.alive else None


def spawn(argv: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that it outlives us; its output is appended to a log.

    Args:
        argv: the command and its arguments.
        log: the file that takes both its streams (made 0600: services print names and addresses).
        env: its whole environment; without it, ours.

    Returns:
        The started process; `poll()` tells whether it has already ended.

    Raises:
        LabError: there is no such command.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [str(word) for word in argv]
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
        try:
            return subprocess.Popen(  # noqa: S603  (a list of words, never a shell's line)
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, cwd="/", start_new_session=True
            )
        except FileNotFoundError as err:
            raise LabError(f"`{words[0]}` is not on this machine: run `make up`, it installs what is missing") from err


def end(process: Process, first: signal.Signals | int = signal.SIGTERM, deadline_s: float = 20) -> None:
    """Ask a process to end, wait, and kill it at the deadline.

    Args:
        process: which one; a PID that another program has now is left alone.
        first: the signal that asks.
        deadline_s: how long to wait for it, in seconds.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if not process.alive:
            return
        _signal(descriptor, first)
        if not _wait(descriptor, deadline_s):
            _signal(descriptor, signal.SIGKILL)
            _wait(descriptor, 10)
    finally:
        os.close(descriptor)


def wait(process: Process, deadline_s: float) -> bool:
    """Wait for a process to end.

    Returns:
        Whether it has ended within `deadline_s` seconds.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        return not process.alive or _wait(descriptor, deadline_s)
    finally:
        os.close(descriptor)


def children(pid: int) -> list[int]:
    """PIDs of a process's children; none when it has ended. Source: proc(5), /proc/PID/task/TID/children."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _signal(descriptor: int, number: signal.Signals | int) -> None:
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return


def _wait(descriptor: int, deadline_s: float) -> bool:
    """Whether the process behind a pidfd ends in time (a pidfd becomes readable at its process's end)."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(deadline_s * 1000))
