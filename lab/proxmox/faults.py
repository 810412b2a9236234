"""Failures on purpose: a file of rules says which calls fail and how.

The file ``faults.json`` in the state directory is read again whenever it changes, and then all counts begin anew::

    {
      "offline_nodes": ["pve2"],
      "quorate": true,
      "full_storages": ["local-lvm"],
      "rules": [
        {"method": "POST", "path": "/nodes/[^/]+/qemu/\\d+/clone", "calls": [2],
         "effect": {"task_failure": "clone failed: no space", "after_work": false}},
        {"path": ".*", "calls": "all", "effect": {"delay_s": 0.5}},
        {"path": "/version", "effect": {"status": 500, "reason": "got no worker process"}},
        {"path": ".*/clone", "effect": {"lock_timeout": "storage"}}
      ]
    }

``path`` is a regular expression for the whole path below ``/api2/json``; without ``method`` any method matches.
``calls`` lists which of the matching calls are meant, counted from 1 (default: ``"all"``). Effects, which can stand
together:

- ``delay_s``: the answer comes that much later.
- ``status`` with ``reason``: this instead of the work; with ``after_work`` the work is begun and only its answer is
  lost, as when the node that does it answers too late (596).
- ``task_failure``: the task ends with that text, with ``after_work`` only after doing its work.
- ``task_warning``: the task does its work and ends as ``WARNINGS: 1``, with that text in its log.
- ``task_delay_s``: the task takes so much longer: before its work, with ``after_work`` after it. It can be aborted.
- ``lock_timeout``: of ``guest`` (a change of the configuration is refused at once, all else fails in its task) or of
  ``storage`` (in the task).
- ``expired_ticket``: the ticket that the caller has is good no more, for this call and all later ones. Tokens stay.
- ``disks_left``: a destroy cannot remove the VM's disks, says so in its log, and ends well all the same: as ``OK``
  (releases up to 8) or with ``warnings`` (later ones).
- ``vanish``: the VM of the path is gone, with its disks, just before the call.
- ``number_taken``: a stranger's VM gets the number that the call (a clone) asks for: before the ``call`` is checked,
  or before its ``task`` begins. It stays, as ``stranger-NUMBER``.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.proxmox.errors import ApiError
from lab.proxmox.locks import guest_lock_timeout, storage_lock_timeout
from lab.proxmox.tasks import Injected

# Statuses from here on are the proxy's between two nodes, which has no body to give.
_FIRST_OF_PROXY = 595


class FaultsError(Exception):
    """The rules are not understood; the text names the file and what is wrong."""


@dataclass(frozen=True)
class Effect:
    """What happens to a call.

    Attributes:
        delay_s: delay of the answer in seconds.
        answer: what is answered instead of the work.
        lost: the work is begun all the same; ``answer`` stands for its own.
        task: what happens to its task.
        expired_ticket: the caller's ticket is good no more.
        disks_left: a destroy leaves the disks, and its task ends as ``OK`` or with ``warnings``.
        vanish: the VM that it is about is gone.
        number_taken: the VM ID that it asks for gets a stranger's: before the ``call``, or before its ``task``.
    """

    delay_s: float = 0.0
    answer: ApiError | None = None
    lost: bool = False
    task: Injected | None = None
    expired_ticket: bool = False
    disks_left: str | None = None
    vanish: bool = False
    number_taken: str | None = None


@dataclass
class _Rule:
    method: str | None
    path: re.Pattern[str]
    calls: frozenset[int] | None
    effect: dict[str, Any]
    seen: int = 0

    def strikes(self, method: str, path: str) -> bool:
        """Count a call that matches and say whether it is one of those meant."""
        if (self.method not in (None, method)) or self.path.fullmatch(path) is None:
            return False
        self.seen += 1
        return self.calls is None or self.seen in self.calls


_EFFECTS = frozenset(
    [
        "delay_s",
        "status",
        "reason",
        "task_failure",
        "task_warning",
        "task_delay_s",
        "after_work",
        "lock_timeout",
        "expired_ticket",
        "disks_left",
        "vanish",
        "number_taken",
    ]
)
# The values of the effects that have a choice.
_CHOICES = {"lock_timeout": ("guest", "storage"), "number_taken": ("call", "task"), "disks_left": ("OK", "warnings")}


@dataclass
class Faults:
    """The rules of a file; without the file, none.

    Args:
        path: the file; it may come, change and go at any time.
    """

    path: Path
    offline_nodes: frozenset[str] = frozenset()
    quorate: bool = True
    full_storages: frozenset[str] = frozenset()
    _rules: list[_Rule] = field(default_factory=list)
    _stamp: tuple[int, int] | None = None
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def effect(self, method: str, path: str) -> Effect:
        """Return what is to happen to a call; the first rule that says so decides each part.

        Raises:
            FaultsError: the file is not understood.
        """
        with self._guard:
            self._read_if_changed()
            struck = [rule.effect for rule in self._rules if rule.strikes(method, path)]
        merged: dict[str, Any] = {}
        for effect in struck:
            merged = effect | merged
        return _effect(merged, path)

    def _read_if_changed(self) -> None:
        try:
            status = self.path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
        except FileNotFoundError:
            stamp = None
        if stamp == self._stamp:
            return
        data = self._parse() if stamp else {}
        self._stamp = stamp
        self.offline_nodes = frozenset(data.get("offline_nodes", ()))
        self.quorate = bool(data.get("quorate", True))
        self.full_storages = frozenset(data.get("full_storages", ()))
        self._rules = [_rule(row) for row in data.get("rules", ())]

    def _parse(self) -> dict[str, Any]:
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            for row in data.get("rules", ()):
                _rule(row)
        except (ValueError, TypeError, KeyError, AttributeError, re.error) as err:
            raise FaultsError(f"{self.path}: {err}; lab/proxmox/faults.py shows what a rule looks like") from err
        return dict(data)


def _rule(row: dict[str, Any]) -> _Rule:
    unknown = set(row) - {"method", "path", "calls", "effect"} | set(row["effect"]) - _EFFECTS
    if unknown:
        raise ValueError(f"unknown key {', '.join(sorted(unknown))} in the rule for {row['path']}")
    for name, choices in _CHOICES.items():
        if row["effect"].get(name, choices[0]) not in choices:
            raise ValueError(f"{name} is {row['effect'][name]!r} in the rule for {row['path']}: {' or '.join(choices)}")
    calls = row.get("calls", "all")
    chosen = None if calls == "all" else frozenset(int(number) for number in calls)
    return _Rule(row.get("method"), re.compile(row["path"]), chosen, row["effect"])


def _effect(merged: dict[str, Any], path: str) -> Effect:
    answer = _answer(merged, path)
    return Effect(
        delay_s=float(merged.get("delay_s", 0.0)),
        answer=answer,
        lost=answer is not None and bool(merged.get("after_work", False)),
        task=_task(merged, path),
        expired_ticket=bool(merged.get("expired_ticket", False)),
        disks_left=merged.get("disks_left"),
        vanish=bool(merged.get("vanish", False)),
        number_taken=merged.get("number_taken"),
    )


def _answer(merged: dict[str, Any], path: str) -> ApiError | None:
    if "status" in merged:
        status = int(merged["status"])
        return ApiError(status, str(merged.get("reason", "")), with_body=status < _FIRST_OF_PROXY)
    if merged.get("lock_timeout") == "guest" and path.endswith("/config"):
        return ApiError(500, str(guest_lock_timeout(_vmid(path))))
    return None


def _task(merged: dict[str, Any], path: str) -> Injected | None:
    failure = merged.get("task_failure", _lock_timeout(merged, path))
    delay_s = float(merged.get("task_delay_s", 0.0))
    warning = merged.get("task_warning")
    if failure is None and warning is None and not delay_s:
        return None
    return Injected(
        None if failure is None else str(failure),
        bool(merged.get("after_work", False)),
        delay_s,
        None if warning is None else str(warning),
    )


def _lock_timeout(merged: dict[str, Any], path: str) -> str | None:
    """Return how a task ends that waited too long for a lock; None when none is to."""
    if merged.get("lock_timeout") == "guest":
        return str(guest_lock_timeout(_vmid(path)))
    if merged.get("lock_timeout") == "storage":
        storage = re.search(r"/storage/([^/]+)/", path)
        text = storage_lock_timeout(storage[1] if storage else "local-lvm", shared_storage=False)
        return f"clone failed: {text}" if path.endswith("/clone") else str(text)
    return None


def _vmid(path: str) -> int:
    vmid = re.search(r"/qemu/(\d+)", path)
    return int(vmid[1]) if vmid else 0
