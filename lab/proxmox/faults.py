"""Failures on purpose: a file of rules says which calls fail and how.

The file ``faults.json`` in the state directory is read again whenever it changes, and then all counts begin anew::

    {
      "offline_nodes": ["pve2"],
      "quorate": true,
      "rules": [
        {"method": "POST", "path": "/nodes/[^/]+/qemu/\\\\d+/clone", "calls": [2],
         "effect": {"task_failure": "clone failed: no space", "after_work": false}},
        {"path": ".*", "calls": "all", "effect": {"delay_s": 0.5}},
        {"path": "/version", "effect": {"status": 500, "reason": "got no worker process"}},
        {"path": ".*/clone", "effect": {"lock_timeout": "storage"}}
      ]
    }

``path`` is a regular expression for the whole path below ``/api2/json``; without ``method`` any method matches.
``calls`` lists which of the matching calls are meant, counted from 1 (default: ``"all"``). Effects, which can stand
together: ``status`` with ``reason`` (at once), ``task_failure`` (the task ends with that text, with ``after_work``
only after doing its work), ``lock_timeout`` of ``guest`` (at once) or ``storage`` (in the task), ``delay_s``.
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


class FaultsError(Exception):
    """The rules are not understood; the text names the file and what is wrong."""


@dataclass(frozen=True)
class Effect:
    """What happens to a call: a delay in seconds, an answer instead of the work, a failure of its task."""

    delay_s: float = 0.0
    answer: ApiError | None = None
    task: Injected | None = None


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


_EFFECTS = frozenset(("delay_s", "status", "reason", "task_failure", "after_work", "lock_timeout"))


@dataclass
class Faults:
    """The rules of a file; without the file, none.

    Args:
        path: the file; it may come, change and go at any time.
    """

    path: Path
    offline_nodes: frozenset[str] = frozenset()
    quorate: bool = True
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
    calls = row.get("calls", "all")
    chosen = None if calls == "all" else frozenset(int(number) for number in calls)
    return _Rule(row.get("method"), re.compile(row["path"]), chosen, row["effect"])


def _effect(merged: dict[str, Any], path: str) -> Effect:
    answer = None
    task = None
    if "status" in merged:
        answer = ApiError(int(merged["status"]), str(merged.get("reason", "")), with_body=int(merged["status"]) < 595)
    elif merged.get("lock_timeout") == "guest":
        vmid = re.search(r"/qemu/(\d+)", path)
        answer = ApiError(500, str(guest_lock_timeout(int(vmid[1]) if vmid else 0)))
    elif merged.get("lock_timeout") == "storage":
        task = Injected(f"clone failed: {storage_lock_timeout('local-lvm', shared_storage=False)}")
    if "task_failure" in merged:
        task = Injected(str(merged["task_failure"]), bool(merged.get("after_work", False)))
    return Effect(float(merged.get("delay_s", 0.0)), answer, task)
