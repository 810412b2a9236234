"""Locks between processes of one master: a file each, held by flock, free again when its owner dies."""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from saltern.proxmox.errors import TimedOutError

# flock can wait for one file but not for the first of several, nor with a time limit: so a wait asks again, at
# uneven intervals so that waiting processes do not ask in step.
_PAUSE_S = (0.05, 0.25)


def _try(path: Path) -> int | None:
    """Take the lock if it is free; returns its file descriptor."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_held(path: Path) -> bool:
    """Tell whether a living process holds the lock."""
    descriptor = _try(path)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


@contextmanager
def one_of(
    paths: list[Path], timeout_s: float, waiting_for: str, pause: Callable[[float], None] = time.sleep
) -> Iterator[Path]:
    """Hold the first lock of several that is free, waiting for one if need be.

    Args:
        paths: lock files; their directory is made.
        timeout_s: time limit in seconds; 0 does not wait.
        waiting_for: what the lock stands for, for the message.
        pause: sleeps that many seconds.

    Raises: TimedOutError.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        for path in paths:
            descriptor = _try(path)
            if descriptor is not None:
                try:
                    yield path
                finally:
                    os.close(descriptor)
                return
        if time.monotonic() >= deadline:
            raise TimedOutError(
                waiting_for,
                f"still in use after {timeout_s:.0f} s",
                f"Another salt-cloud holds {', '.join(str(path) for path in paths)} (`fuser -v` names it): "
                "wait for it to end, then run again.",
            )
        pause(random.uniform(*_PAUSE_S))  # noqa: S311  # spreads waiting processes, protects nothing


def slots(directory: Path, name: str, count: int) -> list[Path]:
    """The lock files of something that `count` processes may do at once."""
    return [directory / f"{name}.{index}" for index in range(count)]
