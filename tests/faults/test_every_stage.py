"""Each fault at the beginning and in the middle of every stage: the next run always goes on, the last one finishes.

It takes about 20 minutes a fault (`make test-faults`); a sample of it is test_sample.py
(`make test-resume`).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from saltern.model import Cluster
from tests.cluster.lab_shell import Shell

from .faults import FAULTS, Fault
from .walk import Walk, every_point, without_machines
from .whole import assert_whole, stages


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_cluster_is_finished_whatever_happened(shell: Shell, table: Cluster, tmp_path: Path, fault: Fault) -> None:
    seconds = stages(shell, table)
    without_machines(shell, table)
    walk = Walk(shell, table, tmp_path)
    for point in every_point(seconds):
        ended = walk.strike(fault, point)
        print(f"{fault.name} at {point}: struck in stage {ended.struck_in}, exit code {ended.code}", flush=True)
    walk.finish()
    assert_whole(shell, table)
