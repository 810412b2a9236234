"""orchestrate.node_replace through salt-run, on real minions; salt-cloud is a stand-in that wipes a minion's parts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from saltern import record
from saltern.rows import Rows
from tests.integration.jobs.conftest import HERE, environment, parts
from tests.integration.jobs.test_orchestrate import returned

# A worker besides job-w, which would be the only one; nobody asks it anything.
OTHER = {"role": "worker", "address": "192.168.100.155", "cpus": 2, "memory_gib": 8, "disk_gib": 20}
REPLACED = "Each has a new machine, and is what it was"


@dataclass
class Cloud:
    """The stand-in of salt-cloud: what it was called for, and whether it makes machines."""

    state: Path

    @property
    def hold(self) -> Path:
        """While it is there no machine is made."""
        return self.state / "hold"

    def calls(self, word: str) -> list[list[str]]:
        """The words of the calls that begin with one."""
        lines = [line.split() for line in (self.state / "calls").read_text().splitlines()]
        return [line for line in lines if line[0] == word]


@pytest.fixture
def cloud(run_cli, master, minions, tmp_path: Path) -> Iterator[Cloud]:
    """A salt-cloud beside the salt-run that these tests call: there the product looks for it first."""
    (tmp_path / "gone").mkdir()
    (tmp_path / "pki").symlink_to(master.config["pki_dir"])
    there = {name: daemon.config["root_dir"] for name, daemon in minions.items()}
    (tmp_path / "machines.json").write_text(json.dumps(there))
    (tmp_path / "calls").touch()
    program = Path(run_cli.get_script_path()).with_name("salt-cloud")
    script = HERE / "stand_ins" / "salt_cloud.py"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {script} {tmp_path} "$@"\n')
    program.chmod(0o755)
    yield Cloud(tmp_path)
    program.unlink()
    # Whatever a test left away comes back for the next one.
    for key in (tmp_path / "gone").iterdir():
        shutil.move(key, tmp_path / "pki" / "minions" / key.name)


@pytest.fixture
def whole(standing, roots: Path) -> Iterator[None]:
    """A cluster with two rows of workers, of which one runs."""
    rows = Rows(roots / "state", "jobs")
    rows.add("job-w2", OTHER)
    yield
    rows.remove("job-w2")


def command(**pillar: object) -> list[str]:
    return ["state.orchestrate", "orchestrate.node_replace", f"pillar={json.dumps(pillar)}"]


def test_without_confirmation_it_is_a_plan(run_cli, cloud, whole, minions):
    result = run_cli.run(*command(node="job-w"))
    assert result.returncode == 0, result.stdout + result.stderr
    told = "\n".join(state["comment"] for state in returned(result).values())
    for text in (
        "Replacement in jobs, one after the other: job-w",
        "job-w (worker, 192.168.100.154): machine 103 with its disks, minion key, Node (Ready)",
        "job-w (worker, 192.168.100.154): a new machine of its row, 2 CPUs, 8 GiB memory, 20 GiB disk",
        '{"node": "job-w", "confirm": true}',
    ):
        assert text in told
    assert cloud.calls("-d") == cloud.calls("-P") == []
    assert not Path(minions["job-m"].config["root_dir"], "done").exists()


def test_what_would_harm_the_cluster_is_refused_all_at_once(run_cli, cloud, whole):
    result = run_cli.run(*command(nodes=["job-m", "job-ha"], confirm=True))
    assert result.returncode == 1
    (said,) = [state["comment"] for state in returned(result).values() if state["result"] is False]
    assert "job-m: Replacement: it is the only control-plane node: the cluster would go with it" in said
    assert "job-ha: Replacement: it is the only load balancer" in said
    assert cloud.calls("-d") == []


def test_a_worker_and_the_load_balancer_are_replaced(run_cli, cloud, whole, minions, roots):
    done = Path(minions["job-m"].config["root_dir"], "done")
    made = {node: {path.name for path in parts(minions, node).iterdir()} for node in ("job-w", "job-ha")}
    result = run_cli.run(*command(nodes=["job-w", "job-ha"], confirm=True, force=True))
    assert result.returncode == 0, result.stdout + result.stderr
    assert [call[:3] for call in cloud.calls("-d")] == [["-d", "-y", "job-w"], ["-d", "-y", "job-ha"]]
    assert done.read_text().splitlines() == ["cordon job-w", "drain job-w", "delete job-w"]
    done.unlink()
    for node, before in made.items():
        assert {path.name for path in parts(minions, node).iterdir()} == before, node
    run = record.last_run(roots / "state" / "jobs")
    assert (run["job"], run["result"]) == ("orchestrate.node_replace", "succeeded")
    assert run["replacement"]["done"] == ["job-w", "job-ha"]
    (stage,) = [stage for stage in run["stages"] if stage["title"] == REPLACED]
    assert stage["changed"] == {"job-w": ["replaced"], "job-ha": ["replaced"]}
    assert {step["key"] for step in stage["steps"]} >= {"cordoned", "workers joined", "authority trusted", "servers up"}


def test_one_that_is_killed_while_the_machine_is_away_goes_on(run_cli, cloud, whole, minions, roots):
    words = command(node="job-w", confirm=True)
    cloud.hold.touch()
    process = subprocess.Popen(
        run_cli.cmdline(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment()
    )
    try:
        wait_for(lambda: cloud.calls("-P"))
    finally:
        process.kill()
        process.communicate(timeout=30)
    assert not parts(minions, "job-w").exists()
    assert record.last_run(roots / "state" / "jobs")["result"] == "interrupted"
    # The salt-cloud of the run that was killed is still at work; it ends by itself.
    cloud.hold.unlink()

    result = run_cli.run(*words)
    assert result.returncode == 0, result.stdout + result.stderr
    plan = next(state["comment"] for state in returned(result).values() if state["__id__"].startswith("It is known"))
    assert "goes on with what was begun at 20" in plan
    Path(minions["job-m"].config["root_dir"], "done").unlink()
    assert (parts(minions, "job-w") / "kubeadm:joined").exists()


def wait_for(condition) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)
