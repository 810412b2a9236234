"""The runner that a reactor calls when a machine was made: real processes, a program in salt-run's place."""

from __future__ import annotations

import json
import stat
import sys
import threading
import time
from pathlib import Path

import pytest
import salt.config
import salt.loader

from saltern import endpoint, record
from saltern.arrivals import Arrivals, Turn
from tests.unit.saltern.definitions import CHECKOUT, overlaid

# Stands for orchestrate.node_add: waits for the cluster's lock, lets go of the turn, takes who has come, notes it.
PROGRAM = """\
#!{python}
import json, sys, time
sys.path.insert(0, {checkout!r})
from pathlib import Path
from saltern import arrivals, record
directory = Path({directory!r})
pillar = json.loads(sys.argv[-1].removeprefix("pillar="))
lock = record.Lock(directory, {{"user": "reactor", "job": "add"}})
while True:
    try:
        lock.take()
        break
    except record.LockedError:
        time.sleep(0.05)
arrivals.Turn(pillar["turn"]).close()
taken = arrivals.Arrivals(directory).take()
print("argv", sys.argv[1:], "takes", taken, flush=True)
with open(directory / "waves", "a") as waves:
    waves.write(json.dumps(taken) + "\\n")
lock.release()
sys.exit({code})
"""


class Scene:
    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tmp_path, self.monkeypatch = tmp_path, monkeypatch
        self.directory = record.cluster_dir(tmp_path / "state", "saw-k8s")
        monkeypatch.setattr(endpoint, "unready", lambda _at, _within_s: "")
        self.settings = {
            "pillar_dirs": [str(path) for path in overlaid(tmp_path)],
            "state_dir": str(tmp_path / "state"),
        }
        self.install(0)
        options = dict(salt.config.DEFAULT_MASTER_OPTS) | {
            "conf_file": "/etc/salt/master",
            "module_dirs": [str(CHECKOUT / "salt")],
            "extension_modules": str(tmp_path / "extmods"),
            "saltern": self.settings,
        }
        self.created = salt.loader.runner(options)["machine.created"]

    def install(self, code: int) -> None:
        """Put the program where the runner looks for salt-run: beside the program that runs it."""
        bin_dir = self.tmp_path / "bin"
        bin_dir.mkdir(exist_ok=True)
        program = bin_dir / "salt-run"
        program.write_text(
            PROGRAM.format(
                python=sys.executable,
                checkout=str(CHECKOUT),
                directory=str(self.directory),
                code=code,
            )
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.monkeypatch.setattr("sys.argv", [str(bin_dir / "salt-master")])

    def waves(self) -> list[list[str]]:
        path = self.directory / "waves"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def test_a_new_worker_is_added_by_a_process_of_its_own(scene: Scene) -> None:
    path = scene.directory / "node_add.log"
    assert scene.created("saw-k8s-w-01") == f"saw-k8s-w-01: added; see {path}"
    assert scene.waves() == [["saw-k8s-w-01"]]
    text = path.read_text()
    assert "saw-k8s-w-01 was made" in text
    assert "'--config-dir=/etc/salt', 'state.orchestrate', 'orchestrate.node_add'" in text
    assert path.stat().st_mode & 0o777 == 0o600
    assert Turn().take(scene.directory)


def test_several_at_once_are_two_waves_and_none_is_lost(scene: Scene) -> None:
    """Four machines while another operation has the lock: one addition waits, and takes all of them along."""
    names = [f"saw-k8s-w-0{number}" for number in range(1, 5)]
    answers: dict[str, object] = {}

    def create(name: str) -> None:
        answers[name] = scene.created(name)

    with record.Lock(scene.directory, {"user": "mia", "job": "orchestrate.cluster"}):
        threads = [threading.Thread(target=create, args=(name,)) for name in names]
        deadline = time.monotonic() + 60
        for thread in threads:
            thread.start()
        while (len(answers) < 3 or len(Arrivals(scene.directory).names()) < 4) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert scene.waves() == []
    for thread in threads:
        thread.join()
    assert scene.waves() == [names]
    waited = [answer for answer in answers.values() if "goes along with an addition that waits" in str(answer)]
    assert len(waited) == 3


def test_a_machine_that_a_job_had_made_is_left_to_it(scene: Scene) -> None:
    said = scene.created("saw-k8s-w-01", job="orchestrate.cluster")
    assert said == "not added by itself: saw-k8s-w-01: orchestrate.cluster had it made, and adds it"
    assert (scene.waves(), Arrivals(scene.directory).names()) == ([], [])


def test_an_addition_that_fails_is_an_error_with_the_way_to_its_log(scene: Scene) -> None:
    scene.install(code=3)
    answer = scene.created("saw-k8s-w-01")
    assert answer["retcode"] == 1
    assert "exit code 3" in answer["error"] and "node_add.log" in answer["error"]


def test_a_wrong_definition_is_an_error(scene: Scene) -> None:
    scene.settings["pillar_dirs"] = []
    assert "saw-k8s-w-01 was not added" in scene.created("saw-k8s-w-01")["error"]
