"""Tasks: work that goes on after the call is answered, known by its UPID."""

from __future__ import annotations

import itertools
import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lab.proxmox.access import Identity
from lab.proxmox.errors import ApiError, ProxmoxError, invalid
from lab.proxmox.machines import MachineError
from lab.proxmox.store import Store

LOG = logging.getLogger(__name__)
# What Proxmox reports for a worker whose end nobody saw: here one that the API process did not outlive.
LOST = "unexpected status"
_RECORDED = ("node", "pid", "pstart", "starttime", "type", "id", "user", "endtime", "exitstatus", "log", "warnings")

_UPID = re.compile(
    r"UPID:(?P<node>[^:]+):(?P<pid>[0-9A-F]{8}):(?P<pstart>[0-9A-F]{8,9}):(?P<starttime>[0-9A-F]{8})"
    r":(?P<type>[^:\s]+):(?P<id>[^:\s]*):(?P<user>[^:\s]+):"
)


@dataclass
class Task:
    """One task: its identity, its log, and how it stands.

    Attributes:
        starttime, endtime: seconds since the epoch; endtime is None while it runs.
        exitstatus: ``OK``, ``WARNINGS: n`` or the error; None while it runs.
    """

    node: str
    pid: int
    pstart: int
    starttime: int
    type: str
    id: str
    user: str
    endtime: int | None = None
    exitstatus: str | None = None
    log: list[str] = field(default_factory=list)
    warnings: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    ended: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    @property
    def upid(self) -> str:
        """``UPID:node:PID:PSTART:START:type:id:user:``."""
        numbers = f"{self.pid:08X}:{self.pstart:08X}:{self.starttime:08X}"
        return f"UPID:{self.node}:{numbers}:{self.type}:{self.id}:{self.user}:"

    def say(self, line: str) -> None:
        """Add a line to the task's log."""
        self.log.append(line)

    def warn(self, line: str) -> None:
        """Add a warning to the log: the task ends as ``WARNINGS: n``, which is a success."""
        self.warnings += 1
        self.say(f"WARN: {line}")

    def pace(self, seconds: float) -> None:
        """Let the time pass that this takes on real hardware: clients must meet a task that still runs.

        Raises:
            ProxmoxError: the task was aborted meanwhile.
        """
        if self.cancelled.wait(seconds):
            raise ProxmoxError("interrupted by signal")

    def status(self) -> dict[str, Any]:
        """Return the row of ``tasks/{upid}/status``."""
        ended = {} if self.exitstatus is None else {"exitstatus": self.exitstatus}
        return self._row() | {"status": "stopped" if ended else "running"} | ended

    def listed(self) -> dict[str, Any]:
        """Return the row of the task lists, where ``status`` is the exit status and only finished tasks have one."""
        ended = {} if self.exitstatus is None else {"endtime": self.endtime, "status": self.exitstatus}
        return self._row() | ended

    def _row(self) -> dict[str, Any]:
        user, _, token = self.user.partition("!")
        names = ("node", "pid", "pstart", "starttime", "type", "id")
        row = {"upid": self.upid, "user": user} | {name: getattr(self, name) for name in names}
        return row | ({"tokenid": token} if token else {})

    @property
    def failed(self) -> bool:
        """True when it has ended and not well."""
        return self.exitstatus is not None and self.exitstatus != "OK" and not self.exitstatus.startswith("WARNINGS")


@dataclass(frozen=True)
class Injected:
    """What happens to a task on purpose.

    Attributes:
        text: what it fails with; None lets it end by itself.
        after_work: only after doing its work.
        delay_s: how much longer it takes, in seconds.
        warning: what it warns of once its work is done.
    """

    text: str | None = None
    after_work: bool = False
    delay_s: float = 0.0
    warning: str | None = None

    def strike(self, task: Task) -> None:
        """Let the time pass, then fail; raises ProxmoxError for it."""
        task.pace(self.delay_s)
        if self.text is not None:
            raise ProxmoxError(self.text)


class Tasks:
    """All tasks, running and finished; each is a record ``tasks/NUMBER``, so that the list survives a restart.

    Args:
        store: where the records live.
        clock: returns the time in seconds since the epoch.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._guard = threading.Lock()
        self._tasks: dict[str, Task] = {}
        self._threads: list[threading.Thread] = []
        for name in store.names("tasks"):
            task = Task(**store.load(name))
            self._tasks[task.upid] = task
        self._pids = itertools.count(max((task.pid for task in self._tasks.values()), default=1000) + 1)

    def fail_lost(self) -> None:
        """End every task that a former process left running."""
        for task in self._tasks.values():
            if task.exitstatus is None:
                self._end(task, LOST)

    def start(
        self,
        node: str,
        kind: str,
        guest: str,
        who: Identity,
        work: Callable[[Task], None],
        injected: Injected | None = None,
        afterwards: Callable[[], None] | None = None,
    ) -> str:
        """Run ``work`` in the background and return the UPID.

        Args:
            node: node that the task runs on.
            kind: type of the task, ``qmclone``.
            guest: what it is about, mostly a VM ID; may be empty.
            who: on whose behalf.
            work: does it; what it raises (ProxmoxError, MachineError, ApiError) becomes the exit status.
            injected: what happens to it on purpose; its work may then never begin.
            afterwards: gives back what the call has handed to its task, however that ends.
        """
        now = self._clock()
        pid = next(self._pids)
        task = Task(node, pid, int(now * 100) & 0xFFFFFFFF, int(now), kind, guest, str(who))
        with self._guard:
            self._tasks[task.upid] = task
        self._save(task)
        thread = threading.Thread(
            target=self._run, args=(task, work, injected, afterwards), name=f"{kind}-{guest}", daemon=True
        )
        self._threads = [old for old in self._threads if old.is_alive()] + [thread]
        thread.start()
        return task.upid

    def _run(
        self,
        task: Task,
        work: Callable[[Task], None],
        injected: Injected | None,
        afterwards: Callable[[], None] | None,
    ) -> None:
        # What is not expected here goes on to threading.excepthook, which prints it; the task still ends as lost.
        exitstatus = LOST
        try:
            if injected and not injected.after_work:
                injected.strike(task)
            work(task)
            if injected and injected.after_work:
                injected.strike(task)
            if injected and injected.warning:
                task.warn(injected.warning)
            exitstatus = f"WARNINGS: {task.warnings}" if task.warnings else "OK"
        except (ProxmoxError, MachineError, ApiError) as err:
            exitstatus = str(err).strip().replace("\n", " ") or "unknown error"
        finally:
            if afterwards:
                afterwards()
            self._end(task, exitstatus)

    def _end(self, task: Task, exitstatus: str) -> None:
        good = exitstatus == "OK" or exitstatus.startswith("WARNINGS")
        task.say(f"TASK {exitstatus}" if good else f"TASK ERROR: {exitstatus}")
        task.endtime = int(self._clock())
        task.exitstatus = exitstatus
        self._save(task)
        task.ended.set()
        LOG.info("task %s: %s", task.upid, exitstatus)

    def _save(self, task: Task) -> None:
        self._store.save(f"tasks/{task.pid:08d}", {name: getattr(task, name) for name in _RECORDED})

    def get(self, upid: str) -> Task:
        """Return a task; raises the 400 that Proxmox gives for an unknown one."""
        if _UPID.fullmatch(upid) is None:
            raise invalid(upid=f"unable to parse worker upid '{upid}'")
        task = self._tasks.get(upid)
        if task is None:
            raise invalid(upid="no such task")
        return task

    def all(self) -> list[Task]:
        """Return all tasks, the youngest first."""
        with self._guard:
            return sorted(self._tasks.values(), key=lambda task: (task.starttime, task.pid), reverse=True)

    def wait_all(self, timeout_s: float) -> int:
        """Wait up to ``timeout_s`` for the running tasks; return how many are still at it."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return sum(thread.is_alive() for thread in self._threads)
