"""Run the main job, strike it at a point, and see that the next run goes on from there.

A point is a stage's beginning, or its middle: so many seconds after its beginning. A walk goes through its points in
order on one cluster: each run is struck at the next point, the last one is left alone and must finish.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from saltern.model import Cluster
from tests.cluster.lab_shell import CHECKOUT, Shell

from .faults import Fault, World

COMMAND = ("salt-run", "state.orchestrate", "orchestrate.cluster")
# "[1:05] stage 5/11: Nodes are prepared | begins"
BEGINS = re.compile(r"\[\d+:\d\d\] stage (?P<number>\d+)/(?P<count>\d+): (?P<title>.*) \| begins$")
# A run may wait as long as its slowest step may take, and names a silent node after about 75 s.
RUN_S = 1500.0
LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class Point:
    """Where a run is struck: ``after_s`` seconds after the stage of that number (1-based) has begun."""

    stage: int
    after_s: float = 0.0

    def __str__(self) -> str:
        return f"stage {self.stage}" + (f" after {self.after_s:.0f} s" if self.after_s else "")


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit code (negative: the signal), output, and the stage in which it was struck (0: not)."""

    code: int
    output: str
    struck_in: int


class Walk:
    """Runs of the main job on one lab.

    Args:
        shell: the operator's shell.
        table: the definition.
        directory: for the outputs of the runs.
    """

    def __init__(self, shell: Shell, table: Cluster, directory: Path) -> None:
        self.shell, self.table, self.directory = shell, table, directory
        self._count = 0

    def strike(self, fault: Fault, point: Point) -> Ended:
        """One run, struck at the point; afterwards the world is put right, and the run's end is judged."""
        ended, world = self._run(fault, point)
        fault.heal(world)
        if fault.ends_run and ended.struck_in:
            assert ended.code != 0, f"{fault.name} at {point}: the run claims success\n{ended.output[-3000:]}"
        if ended.code > 0:
            assert "next:" in ended.output or "Traceback" not in ended.output, ended.output[-6000:]
        return ended

    def finish(self) -> str:
        """A run that nobody strikes, which must succeed; returns its output."""
        ended, _ = self._run(None, Point(0))
        assert ended.code == 0, f"the run after the faults failed with {ended.code}:\n{ended.output[-8000:]}"
        self.shell.renew_kubeconfig()
        return ended.output

    def _run(self, fault: Fault | None, point: Point) -> tuple[Ended, World]:
        self._count += 1
        log = self.directory / f"run-{self._count:02d}.log"
        with log.open("wb") as stream:
            runner = subprocess.Popen(
                COMMAND, cwd=CHECKOUT, env=self.shell.environment, stdin=subprocess.DEVNULL, stdout=stream,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
            world = World(self.shell, self.table, runner, self.directory / "world.log")
            try:
                struck_in = self._watch(runner, log, fault, point, world)
                runner.wait(RUN_S)
            finally:
                if runner.poll() is None:
                    runner.kill()
                    runner.wait()
        text = log.read_text(errors="replace")
        return Ended(runner.returncode, text, struck_in), world

    def _watch(
        self, runner: subprocess.Popen[bytes], log: Path, fault: Fault | None, point: Point, world: World
    ) -> int:
        """Strike when the run has come to the point; returns the stage in which it then was, 0 if it ended before."""
        due: float | None = None
        while fault and runner.poll() is None:
            stage = stage_of(log.read_text(errors="replace"))
            if due is None and stage == point.stage:
                due = time.monotonic() + point.after_s
            # A stage that was over before its middle: struck at once in the one that follows it.
            if stage > point.stage or (due is not None and time.monotonic() >= due):
                fault.strike(world)
                return stage
            time.sleep(LOOK_EVERY_S)  # the run's output is a file: it can only be looked at again
        return 0


def stage_of(output: str) -> int:
    """The number of the stage that a run has begun last; 0 before the first."""
    return max((int(match["number"]) for match in map(BEGINS.match, output.splitlines()) if match), default=0)


def every_point(seconds: Mapping[str, float]) -> Iterator[Point]:
    """The beginning and the middle of each stage.

    Args:
        seconds: stages in order, and how long each took in an undisturbed run.
    """
    for title in seconds:
        yield beginning(seconds, title)
        yield middle(seconds, title)


def beginning(seconds: Mapping[str, float], title: str) -> Point:
    """The beginning of a stage. Raises ValueError when there is none of that title."""
    return Point(list(seconds).index(title) + 1)


def middle(seconds: Mapping[str, float], title: str) -> Point:
    """The middle of a stage. Raises ValueError when there is none of that title."""
    return Point(list(seconds).index(title) + 1, max(seconds[title] / 2, 1.0))


def without_machines(shell: Shell, table: Cluster) -> None:
    """Where a walk begins: no machine of the table is there."""
    shell.run("salt-cloud", "-y", "-P", "-d", *table.nodes, timeout_s=300)
