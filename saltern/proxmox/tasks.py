"""Proxmox tasks: what long calls return instead of a result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from saltern.proxmox.errors import (
    CertificateNotTrustedError,
    CredentialsError,
    NotFoundError,
    PermissionDeniedError,
    ProxmoxError,
    TimedOutError,
    from_task,
)

# Proxmox tells nobody when a task ends, so its status is asked again: at once often (a linked clone takes a
# second), later every two seconds (a full clone takes minutes).
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 2.0
_LOG_LINES = 8
_WARNING = "WARN: "
# Answers that asking again does not change: no such task, not who may ask, not whom to trust.
_DEFINITE = (NotFoundError, CredentialsError, PermissionDeniedError, CertificateNotTrustedError)


class Caller(Protocol):
    """The part of the API that this module needs."""

    def call(self, method: str, path: str, /, **parameters: Any) -> Any:
        """Make one call; returns its `data`."""


@dataclass(frozen=True)
class Upid:
    """A task's identity, `UPID:node:pid:pstart:start:type:id:user:`.

    The node is not always the one that the call was for: an upload runs on the node that was contacted.
    """

    text: str
    node: str
    type: str

    @classmethod
    def parse(cls, text: str) -> Upid:
        """Read a UPID. Raises: ValueError when it is none."""
        fields = text.split(":")
        if len(fields) < 9 or fields[0] != "UPID":
            raise ValueError(f"not a Proxmox task identifier: {text!r}")
        return cls(text, node=fields[1], type=fields[5])


def wait(
    api: Caller, call: str, upid: Upid, timeout_s: float, pause: Callable[[float], None] = time.sleep
) -> list[str]:
    """Wait until a task has ended, and read how.

    Args:
        api: the connection.
        call: what started the task, for messages.
        upid: the task.
        timeout_s: time limit in seconds.
        pause: sleeps that many seconds.

    Returns: what a task that did its work warns of; mostly nothing.
    Raises: TaskFailedError or a narrower ProxmoxError when its exit status is an error; TimedOutError.
    """
    exit_status = ended(api, call, upid, timeout_s, pause)
    if not succeeded(exit_status):
        raise from_task(call, exit_status, last_log_lines(api, upid))
    return warnings(api, upid) if exit_status != "OK" else []


def ended(api: Caller, call: str, upid: Upid, timeout_s: float, pause: Callable[[float], None] = time.sleep) -> str:
    """As wait, but return the exit status whatever it is. Raises: TimedOutError; what definitely refuses the question.

    A failed question says nothing about the task: the node may be busy (500), out of reach for a moment (595, 596), or
    its API be restarted by an update (connection reset, no answer). Asking changes nothing, so it is asked again.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            status = api.call("GET", f"nodes/{upid.node}/tasks/{upid.text}/status")
            how = "still runs"
        except _DEFINITE:
            raise
        except ProxmoxError as err:
            status, how = {}, f"is not known to have ended: {err.call}: {err.text};"
        if status.get("status") == "stopped":
            return str(status.get("exitstatus", "the task ended without a status"))
        if time.monotonic() >= deadline:
            raise TimedOutError(
                call,
                f"the task {upid.text} {how} after {timeout_s:.0f} s",
                f"Look at it on the Proxmox node {upid.node} (pvenode task log {upid.text}); a slow storage needs a "
                "larger task_timeout_s in the provider file.",
            )
        pause(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)


def succeeded(exit_status: str) -> bool:
    """`OK` and `WARNINGS: n` are success; "stopped" alone says nothing."""
    return exit_status == "OK" or exit_status.startswith("WARNINGS")


def last_log_lines(api: Caller, upid: Upid) -> list[str]:
    """The last lines of a task's log, oldest first; none when they cannot be read: the exit status says more."""
    try:
        return log_lines(api, upid)[-_LOG_LINES:]
    except ProxmoxError:
        return []


def log_lines(api: Caller, upid: Upid) -> list[str]:
    """A task's log, oldest line first. Raises: ProxmoxError."""
    return [str(row["t"]) for row in api.call("GET", f"nodes/{upid.node}/tasks/{upid.text}/log", start=0, limit=500)]


def warnings(api: Caller, upid: Upid) -> list[str]:
    """What a task that ended with `WARNINGS: n` warns of, without the "WARN: " before each.

    Proxmox 7.2 and later end a task so that did its work. A log that cannot be read makes no failure of that.
    """
    try:
        lines = log_lines(api, upid)
    except ProxmoxError as err:
        return [f"its log, which says what it warns of, cannot be read: {err}"]
    return [line.removeprefix(_WARNING) for line in lines if line.startswith(_WARNING)]


def abort(api: Caller, upid: Upid) -> None:
    """Ask Proxmox to stop a task. A task that has ended is left as it is."""
    api.call("DELETE", f"nodes/{upid.node}/tasks/{upid.text}")
