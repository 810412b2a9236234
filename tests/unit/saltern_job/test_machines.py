"""Reading salt-cloud's output, and following it while it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from saltern import machines
from saltern.run import StageError
from tests.unit.saltern_job.test_run import Scene

AGAIN = "salt-run again"
# The fake clock runs ahead of a real command.
PATIENT_S = 1e6

# Output of salt-cloud 3008.3 with -P -y --out=json: a sentence, then one object.
MADE = """The following virtual machines are set to be created:
  saw-k8s-w-01

{
    "saw-k8s-w-01": {"id": 104, "node": "pve", "state": "running"},
    "saw-k8s-w-02": {"id": 105, "Message": "Exists; nothing was changed."}
}
"""
FAILED = '{"saw-k8s-w-01": {"Error": "Cloning: storage full. Remove images."}, "saw-k8s-w-02": {"id": 105}}'


def test_made_machines_are_listed_but_not_those_that_existed():
    assert machines.judge(AGAIN, 0, MADE, "") == ["saw-k8s-w-01"]


def test_nothing_to_make():
    assert machines.judge(AGAIN, 0, "The following virtual machines already exist:\n  a\n{}\n", "") == []


def test_a_machine_that_failed_is_named_although_salt_cloud_exits_with_0():
    with pytest.raises(StageError) as err:
        machines.judge(AGAIN, 0, FAILED, "")
    (problem,) = err.value.problems
    assert (problem.node, problem.cause) == ("saw-k8s-w-01", "Cloning: storage full. Remove images.")
    assert problem.remedy.startswith(AGAIN)


def test_one_cause_is_one_problem_of_all_machines_that_it_stopped():
    missing = "Looking for the template nope: Proxmox has no such template. Correct proxmox.template."
    entries = {f"saw-k8s-w-0{n}": {"Error": f"saw-k8s-w-0{n} was not created. {missing}\n  see x"} for n in (1, 2)}
    entries["saw-k8s-w-03"] = {"Error": "saw-k8s-w-03 was not created. No room."}
    with pytest.raises(StageError) as err:
        machines.judge(AGAIN, 0, json.dumps(entries), "")
    assert [(problem.node, problem.cause) for problem in err.value.problems] == [
        ("saw-k8s-w-01, saw-k8s-w-02", f"{missing}\n  see x"),
        ("saw-k8s-w-03", "saw-k8s-w-03 was not created. No room."),
    ]


def test_an_exit_code_without_entries_shows_the_last_lines():
    with pytest.raises(StageError, match="exit code 1: one / wrong password"):
        machines.judge(AGAIN, 1, "", "one\nwrong password\n")


def test_output_without_json():
    assert machines.json_in("No nodes defined in this map") == {}


def test_what_is_said_is_whole_although_it_is_read_meanwhile(tmp_path):
    scene = Scene(tmp_path)
    script = "import os\nfor n in range(20000): os.write(2, f'saw-k8s-w-01: at step {n}\\n'.encode())"
    code, out, err = machines.follow(scene.run, [sys.executable, "-c", script], PATIENT_S)
    assert (code, out) == (0, "")
    assert err.splitlines() == [f"saw-k8s-w-01: at step {n}" for n in range(20000)]


def test_what_is_said_about_machines_is_shown(tmp_path):
    scene = Scene(tmp_path)
    scene.master.bus = [("salt/cloud/saw-k8s-w-01/creating", {}), ("salt/job/1/new", {})]
    script = "import sys; sys.stderr.write('saw-k8s-w-02: cloning from 9000\\n'); sys.stderr.flush(); sys.stdin.read()"
    assert machines.create(scene.run, [sys.executable, "-c", script], PATIENT_S) == []
    assert any("saw-k8s-w-01 creating" in line for line in scene.lines)


def test_salt_cloud_is_told_which_job_calls_it(tmp_path):
    """So that the event of a machine that it makes says so, and no reactor adds the machine a second time."""
    script = """import json, os; print(json.dumps({os.environ["SALTERN_JOB"]: {"id": 1}}))"""
    made = machines.create(Scene(tmp_path).run, [sys.executable, "-c", script], PATIENT_S)
    assert made == ["orchestrate.cluster"]


def test_a_map_of_some_machines_is_what_salt_clouds_renderer_reads_and_goes_afterwards():
    with machines.map_of({"m1": "control_plane", "w1": "worker", "m2": "control_plane"}) as path:
        assert yaml.safe_load(Path(path).read_text()) == {"control_plane": ["m1", "m2"], "worker": ["w1"]}
        assert path.endswith(".map")
    assert not Path(path).exists()


def test_a_salt_cloud_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StageError, match="/nowhere/salt-cloud cannot be run"):
        machines.create(Scene(tmp_path).run, ["/nowhere/salt-cloud"], 30)


def test_salt_cloud_that_does_not_end_is_ended(tmp_path):
    scene = Scene(tmp_path)
    with pytest.raises(StageError, match="not done within 30 s"):
        machines.create(scene.run, ["/bin/sleep", "60"], 30)
