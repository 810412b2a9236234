"""Lock and record of a run."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest

from saltern import record
from saltern.steps import Answer, Call, Outcome, Problem, Step

OWNER = {"user": "eve", "job": "orchestrate.cluster", "jid": "1"}
HOLD = """
import sys, pathlib
from saltern import record
lock = record.Lock(pathlib.Path(sys.argv[1]), {"user": "mia", "job": "orchestrate.cluster", "jid": "0"})
lock.take()
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def directory(tmp_path):
    return record.cluster_dir(tmp_path, "c1")


@pytest.fixture
def holder(directory):
    """Another process that holds the lock until it is killed."""
    argv = [sys.executable, "-c", HOLD, str(directory)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "taken\n"
    yield process
    process.kill()
    process.wait()


def test_the_directory_is_private(directory):
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_the_second_is_told_who_works_since_when(directory, holder):
    with pytest.raises(record.LockedError) as err:
        record.Lock(directory, OWNER).take()
    assert "mia runs orchestrate.cluster since 20" in str(err.value)
    assert f"process {holder.pid}" in str(err.value) and f"ps -p {holder.pid}" in str(err.value)


def test_a_dead_owners_lock_is_taken_over_and_said_so(directory, holder):
    holder.kill()
    holder.wait()
    lock = record.Lock(directory, OWNER)
    lock.take()
    assert lock.left_behind["user"] == "mia" and lock.left_behind["pid"] == holder.pid
    lock.release()


def test_a_lock_given_back_leaves_no_owner(directory):
    with record.Lock(directory, OWNER):
        assert record.read_owner(directory / "lock")["pid"] == os.getpid()
    assert record.read_owner(directory / "lock") is None
    again = record.Lock(directory, OWNER)
    again.take()
    assert again.left_behind is None
    again.release()
    again.release()


def test_a_record_grows_by_stages_and_is_private(directory):
    run = record.Record.open(directory, "orchestrate.cluster", "42", cluster="c1")
    run.stage("Nodes are prepared", 1.23, 4.56, record.SUCCEEDED, comment="fine")
    path = directory / "runs" / "42.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    data = json.loads(path.read_text())
    assert data["result"] == "running" and data["cluster"] == "c1"
    assert data["stages"] == [
        {"title": "Nodes are prepared", "started_s": 1.2, "seconds": 4.6, "result": "succeeded", "comment": "fine"}
    ]
    run.close(record.FAILED, 9.87, [Problem("n1", "Join", "no", "try")])
    data = json.loads(path.read_text())
    assert (data["result"], data["seconds"]) == ("failed", 9.9)
    assert data["problems"] == [
        {"node": "n1", "step": "Join", "cause": "no", "remedy": "try", "state_id": "", "code": ""}
    ]
    assert [file.name for file in (directory / "runs").iterdir()] == ["42.json"]


def test_a_step_keeps_ids_and_times_but_no_values():
    outcome = Outcome(Step("material", "Join material", ("n1",), Call("x")), started=12.0, ended=15.5)
    outcome.answers["n1"] = Answer("n1", {"token": "secret"}, 3.21, ["A"])
    facts = record.step_facts(outcome, job_began=10.0)
    assert facts == {
        "key": "material", "title": "Join material", "started_s": 2.0, "seconds": 3.5,
        "nodes": {"n1": {"seconds": 3.2, "changed": ["A"]}},
    }  # fmt: skip
    assert "secret" not in json.dumps(facts)


def test_the_last_run_of_a_job(directory):
    assert record.last_run(directory) is None
    for jid, job in (("1", "orchestrate.cluster"), ("2", "orchestrate.upgrade")):
        record.Record.open(directory, job, jid)
    assert record.last_run(directory)["jid"] == "2"
    assert record.last_run(directory, "orchestrate.cluster")["jid"] == "1"
