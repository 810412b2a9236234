"""The lock of a cluster and the record of a run, both in the state directory of the installation.

``<state_dir>/<cluster>/lock`` is held by one operation at a time; ``<state_dir>/<cluster>/runs/<jid>.json`` tells what
a run did: stages, steps, nodes, seconds, which states changed something, how it ended. Neither holds anything secret:
of a node's answers only state IDs and the text of failures are kept.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from saltern.steps import Outcome, Problem

# How a run or a stage can stand.
RUNNING, SUCCEEDED, FAILED, INTERRUPTED = "running", "succeeded", "failed", "interrupted"


class LockedError(Exception):
    """Another operation is at work on the cluster: text says who, what, since when."""


def timestamp() -> str:
    """Now, in UTC, to the second: 2026-01-31T12:00:00Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def cluster_dir(state_dir: str | Path, cluster: str) -> Path:
    """Directory of a cluster's lock and records; made with mode 0700 if missing."""
    directory = Path(state_dir) / cluster
    (directory / "runs").mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    return directory


def write_private(path: Path, text: str) -> None:
    """Replace a file as a whole, mode 0600: a reader sees the old text or the new one."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(text)
    Path(file.name).replace(path)


class Lock:
    """One operation at a time on a cluster.

    The kernel's file lock decides, so a dead owner holds nothing; the text in the file tells others who it is.

    Args:
        directory: the cluster's directory.
        owner: what others are told: {"user", "job", "jid"}; pid and since are added.

    After :meth:`take`, ``left_behind`` is the owner that died with the lock in its hands, or None.
    """

    def __init__(self, directory: Path, owner: Mapping[str, Any]) -> None:
        self.path = directory / "lock"
        self.owner = dict(owner) | {"pid": os.getpid(), "since": timestamp()}
        self.left_behind: dict[str, Any] | None = None
        self._fd: int | None = None

    def take(self) -> None:
        """Take the lock. Raises LockedError if a living process has it."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise LockedError(_locked_text(read_owner(self.path) or {}, self.path)) from None
        self._fd = fd
        self.left_behind = read_owner(self.path)
        self._write(json.dumps(self.owner))

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held."""
        if self._fd is not None:
            self._write("")
            os.close(self._fd)
            self._fd = None

    def _write(self, text: str) -> None:
        assert self._fd is not None  # noqa: S101 - only called between take and release
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text.encode(), 0)

    def __enter__(self) -> Lock:
        self.take()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.release()


def read_owner(path: Path) -> dict[str, Any] | None:
    """Who wrote the lock file, or None when it is empty, absent, or was cut off while being written."""
    try:
        owner = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return owner if isinstance(owner, dict) else None


def _locked_text(owner: Mapping[str, Any], path: Path) -> str:
    who = f"{owner.get('user', 'somebody')} runs {owner.get('job', 'an operation')} since {owner.get('since', '?')}"
    pid = owner.get("pid", "?")
    return (
        f"{who} (process {pid}, {path}): two operations at once on one cluster would undo each other's work. "
        f"Wait for it (see how far it is: ps -p {pid}), or stop it, then run again"
    )


@dataclass
class Record:
    """The record of one run, kept on disk after each stage.

    ``data`` is what the file holds: job, jid, cluster, user, pid, started, ended, seconds, result, versions,
    stages [{title, started_s, seconds, result, comment, changed {node: [state IDs]}, steps [...]}], problems.
    """

    path: Path
    data: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, directory: Path, job: str, jid: str, **facts: Any) -> Record:
        """Begin the record of a run; ``facts`` are added as they are (cluster, user, versions)."""
        data = {"job": job, "jid": jid, "pid": os.getpid(), "started": timestamp(), "result": RUNNING}
        record = cls(directory / "runs" / f"{jid}.json", data | facts | {"stages": [], "problems": []})
        record.save()
        return record

    def stage(self, title: str, started_s: float, seconds: float, result: str, **facts: Any) -> None:
        """Add one stage: begun ``started_s`` after the run did, ``seconds`` long."""
        stage = {"title": title, "started_s": round(started_s, 1), "seconds": round(seconds, 1), "result": result}
        self.data["stages"].append(stage | facts)
        self.save()

    def close(self, result: str, seconds: float, problems: list[Problem] | None = None) -> None:
        """End the record."""
        self.data |= {"result": result, "ended": timestamp(), "seconds": round(seconds, 1)}
        self.data["problems"] = [vars(problem) for problem in problems or []]
        self.save()

    def save(self) -> None:
        """Write the file."""
        write_private(self.path, json.dumps(self.data, indent=1) + "\n")


def step_facts(outcome: Outcome, job_began: float) -> dict[str, Any]:
    """What a record keeps of a step: its title, times, and per node the seconds and the states that changed."""
    return {
        "key": outcome.step.key,
        "title": outcome.step.title,
        "started_s": round(outcome.started - job_began, 1),
        "seconds": round((outcome.ended or outcome.started) - outcome.started, 1),
        "nodes": {
            answer.node: {"seconds": round(answer.seconds, 1), "changed": answer.changed}
            for answer in outcome.answers.values()
        },
    }


def last_run(directory: Path, job: str | None = None) -> dict[str, Any] | None:
    """The newest record (of a job, if named); None when there is none. A record that cannot be read is an error."""
    for path in sorted((directory / "runs").glob("*.json"), reverse=True):
        data: dict[str, Any] = json.loads(path.read_text())
        if job is None or data.get("job") == job:
            return data
    return None
