"""What the drift bench makes of its figures, and the systemd that its simulated nodes have."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest

from tests.bench import drift_check, fleet
from tests.bench.drift_check import Check
from tests.unit.saltern_job.fakes import states

CHECKOUT = Path(__file__).parents[3]
QUICK = Check(wall_s=9.0, master_s=2.0, nodes_s={"a": 1.5, "b": 2.5})


def test_no_aim_is_missed():
    assert drift_check.missed(QUICK, {4: Check(4.0, 1, {}), 32: Check(33.0, 8, {})}) == []


def test_each_missed_aim_is_named():
    late = Check(wall_s=20.1, master_s=1.0, nodes_s={"a": 8.1})
    found = drift_check.missed(late, {4: Check(4.0, 1, {}), 32: Check(36.0, 8, {})})
    assert [line.split(" (")[0] for line in found] == [
        "the lab's check took 20.1 s",
        "a node worked for 8.1 s",
        "1.12 s a node with 32 nodes, 1.00 with 4: worse than linear",
    ]


def test_what_changed_or_would_is_no_rest():
    returned = {"a": states(Swap_is_off=None, Time_is_right=True), "b": states(Swap_is_off=False)}
    changed = {"a": {key: state | {"changes": {}} for key, state in returned["a"].items()}, "b": {}}
    assert drift_check.drift(changed) == ["a: Swap is off"]


def test_a_row_has_a_figure_for_each_heading():
    assert drift_check.row(2, QUICK) == ("2", "9.00", "4.50", "2.00", "2.00", "2.50")
    assert len(drift_check.row(2, QUICK)) == len(drift_check.HEAD)


def test_the_quickest_round_counts():
    assert drift_check.best([Check(12.0, 1, {}), QUICK, Check(10.0, 1, {})]) is QUICK


def test_workers_of_the_fleet_have_addresses_of_their_own():
    rows = fleet.cluster_overlay(fleet.workers(32))["nodes"]
    assert len({row["address"] for row in rows.values()}) == 32
    assert list(rows)[:2] == ["saw-k8s-w-01", "saw-k8s-w-02"]


@pytest.fixture(scope="module")
def unit_module():
    """The execution module, as Python: what is called here needs nothing of Salt."""
    spec = importlib.util.spec_from_file_location("unit_under_test", CHECKOUT / "_modules" / "unit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_simulated_systemd_answers_what_the_states_ask(unit_module):
    command = [str(CHECKOUT / "tests/bench/systemctl.sh"), "--no-pager", "show", "--property"]
    command += [",".join(unit_module.PROPERTIES), "crio.service", "kubelet.service"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    facts = [unit_module.describe(block) for block in unit_module.parse_show(told)]
    assert len(facts) == 2
    assert all(fact["loaded"] and fact["active"] and fact["enabled"] and not fact["stale"] for fact in facts)


def test_the_simulated_systemd_refuses_what_is_not_simulated():
    done = subprocess.run([str(CHECKOUT / "tests/bench/systemctl.sh"), "isolate", "rescue.target"], capture_output=True)
    assert done.returncode == 1 and b"not simulated" in done.stderr
