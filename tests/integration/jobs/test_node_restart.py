"""orchestrate.node_restart through salt-run; the machines' restarts are real restarts of real minions."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from saltern import record
from tests.integration.jobs.conftest import NODES, environment
from tests.integration.jobs.test_node_replace import wait_for
from tests.integration.jobs.test_orchestrate import returned

RESTARTED = "Each has restarted, and serves again"


class Machines:
    """Restarts the minions that are told to, until it is stopped; ``restarts`` are their names."""

    def __init__(self, minions: dict) -> None:
        self.directories = {name: Path(daemon.config["root_dir"]) for name, daemon in minions.items()}
        self.minions = minions
        self.restarts: list[str] = []
        # While it is set a machine is off instead of on again.
        self.hold = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def file(self, node: str, name: str) -> Path:
        return self.directories[node] / name

    def lines(self, node: str, name: str) -> list[str]:
        path = self.file(node, name)
        return path.read_text().splitlines() if path.exists() else []

    def stop(self) -> None:
        self.hold.clear()
        self._ended.set()
        self._thread.join()
        for directory in self.directories.values():
            for name in ("boot", "ordered", "upgrades", "done"):
                (directory / name).unlink(missing_ok=True)

    def _work(self) -> None:
        while not self._ended.wait(0.1):
            for name, directory in self.directories.items():
                if (directory / "ordered").exists():
                    (directory / "ordered").unlink()
                    self._restart(name)

    def _restart(self, name: str) -> None:
        with self.minions[name].stopped():
            self.restarts.append(name)
            self.file(name, "boot").write_text(f"boot {len(self.restarts)}")
            while self.hold.is_set() and not self._ended.wait(0.1):
                pass


@pytest.fixture
def machines(standing, minions) -> Iterator[Machines]:
    """The machines of a cluster that runs."""
    working = Machines(minions)
    yield working
    working.stop()


@pytest.fixture
def patient_cli(master):
    """salt-run, with time for minions that start on a busy machine."""
    return master.salt_run_cli(timeout=300, environ=environment())


def command(**pillar: object) -> list[str]:
    return ["state.orchestrate", "orchestrate.node_restart", f"pillar={json.dumps(pillar)}"]


def test_without_confirmation_it_is_a_plan_with_it_all_restart_in_turn(patient_cli, machines, roots):
    result = patient_cli.run(*command(all=True, upgrade=True, share="50%"))
    assert result.returncode == 0, result.stdout + result.stderr
    told = "\n".join(state["comment"] for state in returned(result).values())
    for text in (
        "Restart in jobs: job-ha, job-m, job-w",
        "job-w (worker): packages upgraded, then restarted",
        "job-m: it is the only control-plane node",
        '{"all": true, "upgrade": true, "share": "50%", "confirm": true}',
    ):
        assert text in told
    assert machines.restarts == [] and machines.lines("job-m", "done") == []

    result = patient_cli.run(*command(all=True, upgrade=True, share="50%", confirm=True))
    assert result.returncode == 0, result.stdout + result.stderr
    assert machines.restarts == list(NODES)
    assert {name: machines.lines(name, "upgrades") for name in NODES} == {name: ["upgraded"] for name in NODES}
    assert machines.lines("job-m", "done") == [
        line
        for name in ("job-m", "job-w")
        for line in (f"cordon {name}", f"drain {name}", f"take back {name} without of {name}")
    ]
    assert machines.lines("job-ha", "done") == ["directed elsewhere job-m", "directed back job-m"]
    run = record.last_run(roots / "state" / "jobs")
    assert (run["job"], run["result"]) == ("orchestrate.node_restart", "succeeded")
    assert run["restart"]["done"] == list(NODES)
    (stage,) = [stage for stage in run["stages"] if stage["title"] == RESTARTED]
    assert stage["changed"] == {name: ["restarted"] for name in NODES}
    assert "unclosed" not in result.stderr


def test_one_that_is_killed_while_a_machine_is_away_goes_on_and_restarts_nothing_twice(patient_cli, machines, roots):
    words = command(node="job-w", confirm=True)
    machines.hold.set()
    process = subprocess.Popen(
        patient_cli.cmdline(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment()
    )
    try:
        wait_for(lambda: machines.restarts)
    finally:
        process.kill()
        process.communicate(timeout=30)
    assert record.last_run(roots / "state" / "jobs")["result"] == "interrupted"
    assert machines.lines("job-m", "done") == ["cordon job-w", "drain job-w"]
    # It comes up while the next run waits for it.
    timer = threading.Timer(5, machines.hold.clear)
    timer.start()
    result = patient_cli.run(*words)
    timer.cancel()
    assert result.returncode == 0, result.stdout + result.stderr
    plan = next(state["comment"] for state in returned(result).values() if state["__id__"].startswith("It is known"))
    assert "goes on with what was begun at 20" in plan
    assert "job-w (worker): was restarted already, and is only waited for" in plan
    assert machines.restarts == ["job-w"]
    assert machines.lines("job-m", "done")[2:] == ["take back job-w without of job-w"]
