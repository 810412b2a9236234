"""What can go wrong with Proxmox, as rules of the emulator's faults.json, picked at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

CLONE = r"/nodes/[^/]+/qemu/\d+/clone"
CONFIG = r"/nodes/[^/]+/qemu/\d+/config"
RESIZE = r"/nodes/[^/]+/qemu/\d+/resize"
START = r"/nodes/[^/]+/qemu/\d+/status/start"
STOP = r"/nodes/[^/]+/qemu/\d+/status/stop"
DESTROY = r"/nodes/[^/]+/qemu/\d+"
UPLOAD = r"/nodes/[^/]+/storage/[^/]+/upload"
IMAGE = r"/nodes/[^/]+/storage/[^/]+/content/.+"
# The calls of the driver that change something; those of the first list are waited for with task_timeout_s.
MAKING = [("POST", CLONE), ("POST", CONFIG), ("PUT", RESIZE), ("POST", START), ("POST", UPLOAD)]
REMOVING = [("POST", STOP), ("DELETE", DESTROY), ("DELETE", IMAGE)]
CHANGING = MAKING + REMOVING
READING = [("GET", "/nodes"), ("GET", "/nodes/[^/]+/qemu"), ("GET", CONFIG), ("GET", "/nodes/[^/]+/tasks/.*")]
READING += [("GET", "/cluster/nextid"), ("GET", "/nodes/[^/]+/qemu/.*/agent/.*"), ("POST", "/access/ticket")]
GUEST_LOCKING = [call for call in CHANGING if "qemu" in call[1]]
POLL = [("GET", "/nodes/[^/]+/tasks/[^/]+/status")]
FAILED_POLLS = ((500, "got no worker process"), (595, "No route to host"), (596, "Connection timed out"))
FAILURES = ("start failed: QEMU exited with code 1", "interrupted by signal", "VM is locked (backup)")
# Such a task is aborted; only one whose call was not answered either, so that nobody knows it, is waited for.
FOR_EVER_S = 5.0
IMPATIENCE_S = 0.4


@dataclass
class Trouble:
    """All that is wrong for a while: the content of faults.json, and changes of the provider file that it calls for.

    Attributes:
        mute: machines never answer.
        harmless: nothing that would be an excuse for a command that fails.
    """

    faults: dict[str, Any] = field(default_factory=dict)
    provider: dict[str, Any] = field(default_factory=dict)
    mute: bool = False
    harmless: bool = True
    told: list[str] = field(default_factory=list)

    def rule(self, dice: Random, calls: list[tuple[str, str]], effect: dict[str, Any], most: int = 3) -> None:
        """Let one to `most` calls of one kind, from a random one on, have the effect."""
        method, path = dice.choice(calls)
        first = dice.choice((1, 1, 1, 2, 3))
        numbers = list(range(first, first + dice.randint(1, most)))
        self.faults.setdefault("rules", []).append({"method": method, "path": path, "calls": numbers, "effect": effect})
        self.told.append(f"{method} {path} {numbers}: {effect}")


def trouble(dice: Random) -> Trouble:
    """Return nothing, or one to three faults; now and then only such as excuse nothing."""
    found = Trouble()
    kinds = sorted(_HARMLESS) if dice.random() < 0.2 else list(_KINDS)
    for _ in range(dice.choice((0, 1, 1, 1, 2, 2, 3))):
        kind = dice.choice(kinds)
        _KINDS[kind](found, dice)
        found.harmless &= kind in _HARMLESS
    return found


def _lock_timeout(found: Trouble, dice: Random) -> None:
    kind = dice.choice(("guest", "storage"))
    calls = GUEST_LOCKING if kind == "guest" else [("POST", CLONE), ("DELETE", IMAGE)]
    # The driver tries six times: eight is more than it bears.
    found.rule(dice, calls, {"lock_timeout": kind}, most=8)


def _slow_task(found: Trouble, dice: Random) -> None:
    found.rule(dice, CHANGING, {"task_delay_s": dice.uniform(0.02, 0.15), "after_work": dice.random() < 0.5})


def _endless_task(found: Trouble, dice: Random) -> None:
    found.rule(dice, MAKING, {"task_delay_s": FOR_EVER_S, "after_work": dice.random() < 0.5}, most=1)
    found.provider |= {"task_timeout_s": IMPATIENCE_S, "clone_timeout_s": IMPATIENCE_S}


def _failed_task(found: Trouble, dice: Random) -> None:
    effect = {"task_failure": dice.choice(FAILURES), "after_work": dice.random() < 0.5}
    found.rule(dice, CHANGING, effect)


def _warning_task(found: Trouble, dice: Random) -> None:
    found.rule(dice, CHANGING, {"task_warning": "no CPU flag"})


def _left_disks(found: Trouble, dice: Random) -> None:
    found.rule(dice, [("DELETE", DESTROY)], {"disks_left": dice.choice(("OK", "warnings"))})


def _failed_polls(found: Trouble, dice: Random) -> None:
    status, reason = dice.choice(FAILED_POLLS)
    found.rule(dice, POLL, {"status": status, "reason": reason}, most=8)


def _error(found: Trouble, dice: Random) -> None:
    found.rule(dice, CHANGING + READING, {"status": 500, "reason": "got no worker process"})


def _no_route(found: Trouble, dice: Random) -> None:
    found.rule(dice, CHANGING + READING, {"status": 595, "reason": "No route to host"})


def _lost_answer(found: Trouble, dice: Random) -> None:
    found.rule(dice, CHANGING, {"status": 596, "reason": "Connection timed out", "after_work": True})


def _expired_ticket(found: Trouble, dice: Random) -> None:
    found.rule(dice, CHANGING + READING[:-1], {"expired_ticket": True})


def _vanished_machine(found: Trouble, dice: Random) -> None:
    found.rule(dice, [call for call in CHANGING if "qemu" in call[1]], {"vanish": True}, most=1)


def _number_taken(found: Trouble, dice: Random) -> None:
    found.rule(dice, [("POST", CLONE)], {"number_taken": dice.choice(("call", "task"))}, most=1)


def _full_storage(found: Trouble, dice: Random) -> None:
    found.faults["full_storages"] = [dice.choice(("local", "ceph"))]
    found.told.append(f"full: {found.faults['full_storages']}")


def _node_offline(found: Trouble, dice: Random) -> None:
    found.faults["offline_nodes"] = ["pve2"]
    found.told.append("pve2 is offline")


def _no_quorum(found: Trouble, dice: Random) -> None:
    found.faults["quorate"] = False
    found.told.append("no quorum")


def _mute_machine(found: Trouble, dice: Random) -> None:
    found.mute = True
    found.provider |= {"answer_timeout_s": IMPATIENCE_S}
    found.told.append("machines never answer")


_KINDS: dict[str, Callable[[Trouble, Random], None]] = {
    "lock time-out": _lock_timeout,
    "slow task": _slow_task,
    "endless task": _endless_task,
    "failed task": _failed_task,
    "task with a warning": _warning_task,
    "failed polls": _failed_polls,
    "disks left": _left_disks,
    "500": _error,
    "595": _no_route,
    "lost answer": _lost_answer,
    "expired ticket": _expired_ticket,
    "vanishing machine": _vanished_machine,
    "duplicate vmid": _number_taken,
    "full storage": _full_storage,
    "node offline": _node_offline,
    "no quorum": _no_quorum,
    "mute machine": _mute_machine,
}
# What the driver bears: a command that is alone in such trouble, and lives, does what it is to do.
_HARMLESS = frozenset(("slow task", "task with a warning", "failed polls", "disks left", "duplicate vmid"))
