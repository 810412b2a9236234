"""A bring-up that is struck again and again is finished by the next run: a sample of test_every_stage.py."""

from __future__ import annotations

from pathlib import Path

from saltern.model import Cluster
from tests.cluster.lab_shell import Shell
from tests.faults.faults import named
from tests.faults.walk import Walk, beginning, middle, without_machines
from tests.faults.whole import assert_whole, stages

MACHINES = "The machines of the table run"
PREPARED = "Nodes are prepared: system, binaries, CRI-O, kubelet, HAProxy"
BEGUN = "The control plane has begun, and the load balancers trust it"
JOINED = "Every node has joined, and Cilium connects them"
READY = "All nodes are Ready"

# One fault in the middle of each stage that changes something. A new one is a line.
SAMPLE = [
    ("runner killed", middle, MACHINES),
    ("minion killed", middle, PREPARED),
    ("runner killed", middle, BEGUN),
    ("control-plane node switched off", middle, JOINED),
    ("master killed", beginning, READY),
]


def test_a_bring_up_that_is_struck_at_every_turn_is_finished(shell: Shell, table: Cluster, tmp_path: Path) -> None:
    seconds = stages(shell, table)
    without_machines(shell, table)
    walk = Walk(shell, table, tmp_path)
    for name, place, title in SAMPLE:
        ended = walk.strike(named(name), place(seconds, title))
        print(f"{name}, {place.__name__} of {title!r}: exit code {ended.code}")
        assert ended.struck_in, f"the run ended before {title!r} was reached:\n{ended.output[-3000:]}"
    walk.finish()
    assert_whole(shell, table)
