"""What ``cluster/resources`` knows of VMs: the state of some seconds ago."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Statistics:
    """Facts about VMs that are collected now and then, as pvestatd does.

    Args:
        interval_s: time between two collections.
        clock: returns the time in seconds.
    """

    def __init__(self, interval_s: float, clock: Callable[[], float]) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._guard = threading.Lock()
        self._collected_at = float("-inf")
        self._rows: dict[int, dict[str, Any]] = {}

    def rows(self, collect: Callable[[], dict[int, dict[str, Any]]]) -> dict[int, dict[str, Any]]:
        """Return the facts of the last collection by VM ID, after a new one when its time has come."""
        with self._guard:
            if self._clock() - self._collected_at >= self._interval_s:
                self._rows = collect()
                self._collected_at = self._clock()
            return self._rows
