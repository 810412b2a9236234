"""`make bench-drift`: what it costs to find that nothing has changed, on the lab's nodes and on 32 simulated ones.

First `salt '*' state.apply` on the running lab (`make up`), wall time and each node's own processor time; then the
same for growing numbers of simulated workers (tests/bench/fleet.py says what of them is simulated). Ends with 1 when
an aim is missed or anything would change: on such nodes it is not the check at rest that was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.paths import Paths
from saltern import definition
from saltern.answers import changed_states
from saltern.model import Cluster
from saltern.report import table
from tests.bench.fleet import CHECKOUT, Fleet, cpu_seconds, workers

AIM_WALL_S, AIM_WORK_S = 20.0, 8.0
COUNTS = (4, 8, 16, 32)
# Two measurements of the same thing differ by this much on a machine that is shared.
NOISE = 1.1
SLOWEST_SHOWN = 6


@dataclass(frozen=True)
class Check:
    """One check of some nodes: wall seconds, processor seconds of the master and of each node."""

    wall_s: float
    master_s: float
    nodes_s: Mapping[str, float]

    @property
    def busiest_s(self) -> float:
        """Processor seconds of the node that needed most."""
        return max(self.nodes_s.values())

    @property
    def mean_s(self) -> float:
        """Processor seconds of a node."""
        return statistics.fmean(self.nodes_s.values())


def minions() -> dict[str, int]:
    """The minions of the lab's machines: {name: PID of the process that runs the jobs}."""
    found = {}
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            command = (directory / "cmdline").read_text()
            if "salt-minion" in command and "MultiMinion" in command:
                found[(directory / "root/etc/hostname").read_text().strip()] = int(directory.name)
        except OSError:
            continue  # it ended while we looked
    return found


def masters(configuration: Path) -> list[int]:
    """PIDs of the processes of the lab's master."""
    command = ["pgrep", "-f", f"salt-master.*{configuration}"]
    return [int(pid) for pid in subprocess.check_output(command, text=True).split()]


def on_the_lab(names: Sequence[str]) -> tuple[Check, dict[str, dict[str, Any]]]:
    """Apply the states to all nodes of the lab; returns the figures and what each node returned."""
    own, master = minions(), masters(Paths.from_environment().salt / "etc")
    before = {name: cpu_seconds(own[name]) for name in names}
    master_before = sum(map(cpu_seconds, master))
    began = time.monotonic()
    line = 'eval "$(make -s lab-env)" && salt --out=json --static "*" state.apply'
    done = subprocess.run(["bash", "-c", line], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=False)
    wall_s = time.monotonic() - began
    returned = json.loads(done.stdout)
    silent = [name for name in names if not isinstance(returned.get(name), dict)]
    if silent:
        raise SystemExit(f"bench: no states from {', '.join(silent)}: {[returned.get(name) for name in silent]}")
    used = {name: cpu_seconds(own[name]) - before[name] for name in names}
    return Check(wall_s, sum(map(cpu_seconds, master)) - master_before, used), returned


def on_the_fleet(fleet: Fleet, names: Sequence[str]) -> tuple[Check, dict[str, dict[str, Any]]]:
    """The same on simulated workers, in test mode."""
    before, began = fleet.cpu(), time.monotonic()
    returned = fleet.applied(names, "test=True")
    wall_s, after = time.monotonic() - began, fleet.cpu()
    used = {name: after[name] - before[name] for name in names}
    return Check(wall_s, after["master"] - before["master"], used), returned


def drift(returned: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What changed or would: "node: state"; [] at rest."""
    return [f"{name}: {state}" for name, states in returned.items() for state in changed_states(states)]


def slowest(returned: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The states that took longest on a node of theirs: (ID, seconds)."""
    longest: dict[str, float] = {}
    for states in returned.values():
        for state in states.values():
            longest[state["__id__"]] = max(longest.get(state["__id__"], 0.0), state["duration"] / 1000)
    ranked = sorted(longest.items(), key=lambda pair: -pair[1])[:SLOWEST_SHOWN]
    return [(name, f"{seconds:.2f}") for name, seconds in ranked]


def best(checks: Sequence[Check]) -> Check:
    """The quickest of some rounds: what others did on the machine meanwhile only ever adds."""
    return min(checks, key=lambda check: check.wall_s)


def row(count: int, check: Check) -> tuple[str, ...]:
    """A check as a row of the table."""
    figures = (check.wall_s, check.wall_s / count, check.master_s, check.mean_s, check.busiest_s)
    return (str(count), *(f"{figure:.2f}" for figure in figures))


HEAD = ("NODES", "WALL s", "WALL s/NODE", "MASTER CPU s", "NODE CPU s, MEAN", "NODE CPU s, MOST")


def prepared_worker(name: str) -> Path:
    """The root directory of a machine of the lab."""
    for directory in sorted(Paths.from_environment().nodes.iterdir()):
        hostname = directory / "etc/hostname"
        if hostname.is_file() and hostname.read_text().strip() == name:
            return directory
    raise SystemExit(f"bench: the lab has no machine {name}: make up")


def missed(lab: Check | None, growth: Mapping[int, Check]) -> list[str]:
    """The aims that were missed, one sentence each."""
    found = []
    if lab and lab.wall_s > AIM_WALL_S:
        found.append(f"the lab's check took {lab.wall_s:.1f} s (aim: at most {AIM_WALL_S:.0f})")
    if lab and lab.busiest_s > AIM_WORK_S:
        found.append(f"a node worked for {lab.busiest_s:.1f} s (aim: at most {AIM_WORK_S:.0f})")
    if growth:
        few, many = min(growth), max(growth)
        each_few, each_many = growth[few].wall_s / few, growth[many].wall_s / many
        if each_many > each_few * NOISE:
            found.append(f"{each_many:.2f} s a node with {many} nodes, {each_few:.2f} with {few}: worse than linear")
    return found


def measure_lab(cluster: Cluster, rounds: int) -> tuple[Check, list[str]]:
    """Measure the lab's nodes and print the figures; returns the quickest round and what was not at rest."""
    names = [name for name in cluster.nodes if name in minions()]
    checks, found = [], []
    for _ in range(rounds):
        check, returned = on_the_lab(names)
        checks.append(check)
        found += drift(returned)
    print(f"the lab: salt '*' state.apply, {os.cpu_count()} cores, the quickest of {rounds} rounds")
    print(table([HEAD, row(len(names), best(checks))]))
    print("slowest states\n" + table([("STATE", "s"), *slowest(returned)]))
    return best(checks), found


def measure_growth(
    cluster: Cluster, pillar_dirs: list[Path], counts: Sequence[int], rounds: int
) -> tuple[dict[int, Check], list[str]]:
    """Measure simulated workers and print the figures; returns the quickest rounds and what was not at rest."""
    growth: dict[int, Check] = {}
    found: list[str] = []
    with Fleet(workers(max(counts)), prepared_worker(cluster.workers[0].name), pillar_dirs) as fleet:
        fleet.applied(fleet.names, "test=True")  # the first run of a copy fetches modules and fills caches
        for count in counts:
            measured = [on_the_fleet(fleet, fleet.names[:count]) for _ in range(rounds)]
            found += [line for _, returned in measured for line in drift(returned)]
            growth[count] = best([check for check, _ in measured])
    print(f"simulated workers: state.apply test=True, the quickest of {rounds} rounds")
    print(table([HEAD, *(row(count, check) for count, check in growth.items())]))
    return growth, found


def main() -> int:
    """Measure and print. Returns the exit code."""
    # The fleet's processes are in sessions of their own: ended from here, however this ends.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="the quickest of so many rounds counts")
    parser.add_argument("--counts", type=int, nargs="*", default=list(COUNTS), help="numbers of simulated workers")
    parser.add_argument("--only", choices=("lab", "growth"), help="one of the two parts")
    wanted = parser.parse_args()
    pillar_dirs = [CHECKOUT / "pillar", Paths.from_environment().pillar]
    cluster = definition.load(pillar_dirs)
    lab: Check | None = None
    growth: dict[int, Check] = {}
    found: list[str] = []
    if wanted.only != "growth":
        lab, found = measure_lab(cluster, wanted.rounds)
    if wanted.only != "lab":
        growth, more = measure_growth(cluster, pillar_dirs, wanted.counts, wanted.rounds)
        found += more
    wrong = [*dict.fromkeys(f"not at rest: {line}" for line in found), *missed(lab, growth)]
    print("\n".join(wrong) or "all aims met, nothing changed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
