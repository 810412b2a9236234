"""The lock of a cluster and the record of a run, both in the state directory of the installation.

``<state_dir>/<cluster>/lock`` is held by one operation at a time; ``<state_dir>/<cluster>/runs/<jid>.json`` tells what
a run did: who, when, stages, steps, nodes, seconds, which states changed something, how it ended. Neither holds
anything secret: of a node's answers only state IDs and the text of failures are kept, and those with tokens, keys and
passwords blotted out (``saltern/redaction.py``).
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from saltern.redaction import redacted
from saltern.steps import Outcome, Problem

# How a run or a stage can stand.
RUNNING, SUCCEEDED, FAILED, INTERRUPTED = "running", "succeeded", "failed", "interrupted"
# Records kept of a cluster unless the master's configuration says otherwise (saltern: keep_runs). One has about 30 KiB.
KEEP_RUNS = 100
# How long a lock is asked for: whoever only looks whether it is held holds it for a moment.
TAKE_S, ASK_AGAIN_S = 0.5, 0.05


class LockedError(Exception):
    """Another operation is at work on the cluster: text says who, what, since when."""

    codes = ("cluster-locked",)


class RecordError(Exception):
    """A record is not there or cannot be read: text says which, and what to type."""

    codes = ("record-unreadable",)


def timestamp() -> str:
    """Now, in UTC, to the second: 2026-01-31T12:00:00Z."""
    return _text(datetime.now(UTC))


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


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
    try:
        Path(file.name).replace(path)
    except OSError:
        Path(file.name).unlink()
        raise


class Lock:
    """One operation at a time on a cluster.

    The kernel's file lock decides, so a dead owner holds nothing, and a process that has got a dead owner's process ID
    is not taken for it; the text in the file tells others who it is.

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
        # A forked child has the lock too, and would keep it after its parent's death.
        os.register_at_fork(after_in_child=self._let_go)

    def take(self) -> None:
        """Take the lock. Raises LockedError if a living process has it."""
        self._fd = _locked(self.path)
        self.left_behind = read_owner(self.path)
        self._write(json.dumps(self.owner))

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held."""
        if self._fd is not None:
            self._write("")
            self._let_go()

    def _let_go(self) -> None:
        if self._fd is not None:
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


def _locked(path: Path) -> int:
    """The lock file, locked, as a file descriptor. Raises LockedError if a living process has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + TAKE_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(ASK_AGAIN_S)
                continue
            os.close(fd)
            raise LockedError(_locked_text(read_owner(path) or {}, path)) from None
        return fd


def require_free(directory: Path) -> None:
    """Nobody is at work on the cluster; what a dead owner left in the lock file stays there.

    Raises LockedError if a living process has the lock.
    """
    os.close(_locked(directory / "lock"))


def holder(directory: Path) -> dict[str, Any] | None:
    """Who has the lock now, as it says itself; None when nobody has it."""
    try:
        require_free(directory)
    except LockedError:
        return read_owner(directory / "lock") or {}
    return None


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
    """The record of one run, written anew at each stage's end: a run that is killed leaves what it had reached.

    ``data`` is what the file holds: job, jid, cluster, user, pid, started, ended, seconds, result, versions, nodes
    {role: [names]}, stages [{title, started_s, seconds, result, comment, changed {node: [what]}, steps [...]}],
    problems. ``changed`` of a stage is what no state did: machines made, modules handed out; the steps name the states.
    """

    path: Path
    data: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, directory: Path, job: str, jid: str, keep: int = KEEP_RUNS, **facts: Any) -> Record:
        """Begin the record of a run and drop the oldest ones, so that ``keep`` are left with it.

        ``facts`` are added as they are (cluster, user, versions, nodes).
        """
        data = {"job": job, "jid": jid, "pid": os.getpid(), "started": timestamp(), "result": RUNNING}
        record = cls(directory / "runs" / f"{jid}.json", data | facts | {"stages": [], "problems": []})
        record.save()
        for path in _paths(directory)[max(keep, 1) :]:
            path.unlink(missing_ok=True)
        return record

    def stage(self, title: str, started_s: float, seconds: float, result: str, **facts: Any) -> None:
        """Add one stage: begun ``started_s`` after the run did, ``seconds`` long."""
        stage = {"title": title, "started_s": round(started_s, 1), "seconds": round(seconds, 1), "result": result}
        self.data["stages"].append(stage | facts)
        self.save()

    def note(self, **facts: Any) -> None:
        """Add what a run that goes on after this one has to know."""
        self.data |= facts
        self.save()

    def close(self, result: str, seconds: float, problems: list[Problem] | None = None) -> None:
        """End the record."""
        self.data |= {"result": result, "ended": timestamp(), "seconds": round(seconds, 1)}
        self.data["problems"] = [vars(problem) for problem in problems or []]
        self.save()

    def save(self) -> None:
        """Write the file."""
        write_private(self.path, json.dumps(redacted(self.data), indent=1) + "\n")


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
    """The newest record (of a job, if named); None when there is none. Raises RecordError."""
    return next((data for data in runs(directory) if job is None or data.get("job") == job), None)


def runs(directory: Path) -> Iterator[dict[str, Any]]:
    """The records, newest first, as :func:`read` gives them. Raises RecordError."""
    at_work = (holder(directory) or {}).get("jid")
    return (_read(path, at_work) for path in _paths(directory))


def read(directory: Path, jid: str | None = None) -> dict[str, Any]:
    """One record (default: the newest). Raises RecordError when there is none or it cannot be read.

    A run that was killed could not say how it ended: a record that says running, while the lock is not that run's,
    reads as interrupted; what it had written last is its ``last_sign``.
    """
    known = [path.stem for path in _paths(directory)]
    if not known:
        raise RecordError(f"no run is recorded in {directory / 'runs'}: none was begun, or all were removed")
    if jid is not None and str(jid) not in known:
        raise RecordError(f"no run {jid} is recorded in {directory / 'runs'}; see: salt-run cluster.history limit=0")
    return _read(directory / "runs" / f"{jid or known[0]}.json", (holder(directory) or {}).get("jid"))


def unfinished(
    records: Iterable[Mapping[str, Any]], key: str, belongs: Callable[[Mapping[str, Any]], bool]
) -> dict[str, Any] | None:
    """What the last run that changed anything for the same request noted; None when that ended well.

    Args:
        records: newest first. Those of runs that were refused noted nothing, and do not count.
        key: where such runs note how far they are, with ``since``: when the first run of the request began, "" in it.
        belongs: whether what was noted is of the same request.
    """
    for run in records:
        noted = run.get(key)
        if noted and belongs(noted):
            return None if run["result"] == SUCCEEDED else noted | {"since": noted["since"] or run["started"]}
    return None


def _paths(directory: Path) -> list[Path]:
    """The files of the records, newest first: a job ID begins with the date."""
    return sorted((directory / "runs").glob("[!.]*.json"), reverse=True)


def _read(path: Path, at_work: str | None) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as err:
        raise RecordError(f"{path} cannot be read ({err}): remove it, nothing else depends on it") from err
    if data.get("result") == RUNNING and data.get("jid") != at_work:
        sign = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        data |= {"result": INTERRUPTED, "last_sign": _text(sign)}
    return data
