"""`make bench`: both bring-ups on empty booted machines, artefacts in the mirror, their stage tables side by side.

Needs a machine without a running cluster; leaves none behind. ``--rounds N`` repeats the pair (default 1).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from saltern import definition, record
from saltern.model import Cluster

CHECKOUT = Path(__file__).resolve().parents[2]
AIM_RATIO = 1.15
AIM_MEMORY_GIB = 8.0


@dataclass
class Result:
    """One bring-up: total seconds, ``stages`` as (seconds since the start, title), the lab's memory in GiB."""

    name: str
    seconds: float
    stages: list[tuple[float, str]] = field(default_factory=list)
    memory_gib: float = 0.0


def shell(command: str, capture: bool = False) -> str:
    """Run a line in the lab's shell; returns what it printed when captured. Raises CalledProcessError on failure."""
    line = f'eval "$(make -s lab-env)" && {command}'
    done = subprocess.run(
        ["bash", "-c", line], cwd=CHECKOUT, check=True, text=True, stdout=subprocess.PIPE if capture else None
    )
    return done.stdout or ""


def make_machines() -> None:
    """Create the table's machines and wait until every minion answers: the start line of both bring-ups."""
    shell("salt-cloud -P -m cloud.maps.d/cluster.map -y >/dev/null")
    shell("salt --out=quiet '*' test.ping")


def destroy_machines(cluster: Cluster) -> None:
    """Remove the table's machines, whatever runs on them."""
    shell(f"salt-cloud -y -d {' '.join(cluster.nodes)} >/dev/null")


def memory_used_gib() -> float:
    """Memory in use on the whole machine (MemTotal - MemAvailable), GiB: the lab is the only thing that runs."""
    pairs = (line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    kib = {name: int(value.split()[0]) for name, value in pairs}
    return (kib["MemTotal"] - kib["MemAvailable"]) / 2**20


def by_hand(cluster: Cluster) -> Result:
    """Run handrun.sh; its lines are its stages."""
    versions = {name: pin.version for name, pin in cluster.versions.artefacts.items()}
    environment = {
        "KUBERNETES_VERSION": str(cluster.versions.kubernetes),
        "CRIO_VERSION": str(cluster.versions.crio),
        "HELM_VERSION": versions["helm"],
        "CILIUM_VERSION": versions["cilium-chart"],
        "METALLB_VERSION": versions["metallb-chart"],
        "HANDRUN_IGNORE": ",".join(cluster.kubeadm.ignore_preflight_errors),
    }
    os.environ.update(environment)
    began = time.monotonic()
    lines = shell("tests/bench/handrun.sh", capture=True).splitlines()
    seconds = time.monotonic() - began
    return Result("by hand", seconds, [(float(at), title) for at, _, title in (line.partition("\t") for line in lines)])


def by_product(state_dir: Path, cluster: Cluster) -> Result:
    """Run the orchestration; its record tells the stages."""
    began = time.monotonic()
    shell("salt-run state.orchestrate orchestrate.cluster")
    seconds = time.monotonic() - began
    run = record.last_run(record.cluster_dir(state_dir, cluster.name)) or {}
    stages = [(stage["started_s"] + stage["seconds"], stage["title"]) for stage in run["stages"]]
    return Result("by the product", seconds, stages)


def cell(stage: tuple[float, str] | None) -> str:
    """One stage as a cell of the table; empty for none."""
    return f"{stage[0]:6.1f} s  {stage[1]}" if stage else ""


def table(pairs: Sequence[tuple[Result, Result]]) -> str:
    """The stage tables of each pair side by side, and the ratios."""
    lines = []
    for hand, product in pairs:
        lines.append(f"{'by hand':<44}by the product")
        for left, right in zip_longest(hand.stages, product.stages):
            lines.append(f"{cell(left):<44}{cell(right)}".rstrip())
        lines.append(f"{f'{hand.seconds:6.1f} s  in all':<44}{product.seconds:6.1f} s  in all")
        ratio = product.seconds / hand.seconds
        lines.append(f"ratio {ratio:.2f} (aim: at most {AIM_RATIO})")
        used = f"{hand.memory_gib:.1f} and {product.memory_gib:.1f} GiB"
        lines += [f"memory in use at the end: {used} (aim: under {AIM_MEMORY_GIB:.0f})", ""]
    return "\n".join(lines)


def measured(bring_up: Callable[[], Result], cluster: Cluster) -> Result:
    """One bring-up on fresh machines, which are gone again afterwards."""
    make_machines()
    try:
        result = bring_up()
        result.memory_gib = memory_used_gib()
        return result
    finally:
        destroy_machines(cluster)


def main() -> int:
    """Measure and print. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    rounds = parser.parse_args().rounds
    subprocess.run(["make", "lab-start"], cwd=CHECKOUT, check=True)
    state_dir = Path(shell('printf %s "$SALTERN_STATE"', capture=True))
    cluster = definition.load([CHECKOUT / "pillar", state_dir / "pillar"])
    machines = json.loads(shell("salt-cloud -Q --out=json", capture=True))
    if any(machines.values()) and any(name in json.dumps(machines) for name in cluster.nodes):
        print("bench: machines of the table exist, and the bench has to remove them. Type: make down", file=sys.stderr)
        return 1
    pairs = []
    for number in range(1, rounds + 1):
        print(f"bench: round {number} of {rounds}: by hand", file=sys.stderr)
        hand = measured(lambda: by_hand(cluster), cluster)
        print(f"bench: round {number} of {rounds}: by the product", file=sys.stderr)
        pairs.append((hand, measured(lambda: by_product(state_dir, cluster), cluster)))
    print(table(pairs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
