"""Live lines about a long build: which component of how many, and for how long."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

HEARTBEAT_S = 10.0


class Progress:
    """Counts components and says what happens to each, one line at a time.

    Args:
        total: number of components of this run.
        stream: where the lines go; stderr unless told.
    """

    def __init__(self, total: int = 0, stream: TextIO | None = None) -> None:
        self.total = total
        self.done = 0
        self._stream = stream if stream is not None else sys.stderr
        self._name = ""
        self._since_s = 0.0

    def say(self, text: str) -> None:
        """Print one line at once, also into a pipe."""
        print(text, file=self._stream, flush=True)

    @contextmanager
    def component(self, name: str, verb: str) -> Iterator[None]:
        """Announce one component's work and, when it ends well, the seconds it took."""
        self.done += 1
        self._name, self._since_s = name, time.monotonic()
        self.say(f"[{self.done}/{self.total}] {name}: {verb}")
        yield
        self.say(f"[{self.done}/{self.total}] {name}: done in {self._elapsed_s():.0f} s")

    def skip(self, text: str = "") -> None:
        """Count a component that needs no work; `text`, if any, says why."""
        self.done += 1
        if text:
            self.say(f"[{self.done}/{self.total}] {text}")

    def retry(self, text: str) -> None:
        """Say why the current component failed this way; it will be counted when it is made another way."""
        self.done -= 1
        self.say(text)

    def heartbeat(self) -> None:
        """Say that the current component is still at work; long commands call this every HEARTBEAT_S."""
        self.say(f"[{self.done}/{self.total}] {self._name}: {self._elapsed_s():.0f} s so far")

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._since_s
