"""A client outside the nodes that asks one URL again and again and remembers the longest silence."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from types import TracebackType

from .lab_shell import CHECKOUT, Shell


class Probe:
    """Requests every ``interval_s`` seconds by curl, from entering the block to leaving it.

    ``answered`` and ``failed`` count the requests; ``longest_gap_s`` is the longest time between two answers.
    """

    def __init__(self, shell: Shell, url: str, *curl_options: str, interval_s: float = 0.2) -> None:
        self._argv = ("curl", "-sS", "-o", "/dev/null", "--fail", "--max-time", "1", *curl_options, url)
        self._shell = shell
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, daemon=True)
        self.answered = 0
        self.failed = 0
        self.longest_gap_s = 0.0

    def _ask_on(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(self._interval_s):
            done = subprocess.run(
                self._argv, env=self._shell.environment, cwd=CHECKOUT, capture_output=True, check=False
            )
            now = time.monotonic()
            if done.returncode:
                self.failed += 1
                continue
            self.answered += 1
            self.longest_gap_s = max(self.longest_gap_s, now - last)
            last = now
        if self.failed and not self.answered:
            self.longest_gap_s = float("inf")

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def __str__(self) -> str:
        return f"{self.answered} answered, {self.failed} failed, longest gap {self.longest_gap_s:.1f} s"


def wait_until(what: str, condition: Callable[[], object], deadline_s: float, every_s: float = 1.0) -> None:
    """Ask ``condition()`` until it is true; fails with ``what`` and its last answer at the deadline."""
    end = time.monotonic() + deadline_s
    while not (last := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"after {deadline_s} s still not: {what} (last answer: {last!r})")
        time.sleep(every_s)
