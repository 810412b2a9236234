"""Lock and record of a run."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading

import pytest

from saltern import record
from saltern.steps import Answer, Call, Outcome, Problem, Step

OWNER = {"user": "eve", "job": "orchestrate.cluster", "jid": "1"}
# An operation as far as lock and record see it: it begins, one stage ends, the next one lasts. With the word "fork" it
# has a child that outlives it.
HOLD = """
import os, sys, pathlib
from saltern import record
directory = pathlib.Path(sys.argv[1])
lock = record.Lock(directory, {"user": "mia", "job": "orchestrate.cluster", "jid": "20260131"})
lock.take()
record.Record.open(directory, "orchestrate.cluster", "20260131", user="mia").stage("First", 0, 1, record.SUCCEEDED)
if sys.argv[2:] == ["fork"] and os.fork() == 0:
    os.write(1, f"{os.getpid()}\\n".encode())
    sys.stdin.read()
    os._exit(0)
os.write(1, b"taken\\n")
sys.stdin.read()
"""


@pytest.fixture
def directory(tmp_path):
    return record.cluster_dir(tmp_path, "c1")


def hold(directory, *words):
    """Begin an operation in a process of its own."""
    argv = [sys.executable, "-c", HOLD, str(directory), *words]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def holder(directory):
    """Another process that holds the lock until it is killed."""
    process = hold(directory)
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


def test_a_child_of_a_dead_owner_does_not_hold_the_lock(directory):
    process = hold(directory, "fork")
    lines = {process.stdout.readline().strip() for _ in range(2)}
    (child,) = lines - {"taken"}
    process.kill()
    process.wait()
    os.kill(int(child), 0)  # it lives
    with record.Lock(directory, OWNER) as lock:
        assert lock.left_behind["user"] == "mia"
    process.stdin.close()


def test_a_process_with_a_dead_owners_id_is_not_taken_for_it(directory):
    (directory / "lock").write_text(json.dumps({"user": "mia", "job": "j", "pid": os.getppid(), "since": "then"}))
    with record.Lock(directory, OWNER) as lock:
        assert lock.left_behind["pid"] == os.getppid()


def test_asking_whether_a_lock_is_free_takes_nothing_over(directory, holder):
    assert record.holder(directory)["user"] == "mia"
    with pytest.raises(record.LockedError):
        record.require_free(directory)
    holder.kill()
    holder.wait()
    record.require_free(directory)
    assert record.holder(directory) is None
    with record.Lock(directory, OWNER) as lock:
        assert lock.left_behind["user"] == "mia"


def test_one_who_only_looks_does_not_make_an_owner_fail(directory):
    fd = record._locked(directory / "lock")
    threading.Timer(0.1, os.close, (fd,)).start()
    with record.Lock(directory, OWNER):
        assert record.read_owner(directory / "lock")["user"] == "eve"


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
    run.close(record.FAILED, 9.87, [Problem("n1", "Join", "no", "try", code="disk-full")])
    data = json.loads(path.read_text())
    assert (data["result"], data["seconds"]) == ("failed", 9.9)
    assert data["problems"] == [
        {"node": "n1", "step": "Join", "cause": "no", "remedy": "try", "state_id": "", "code": "disk-full"}
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


def test_a_killed_run_reads_as_interrupted(directory, holder):
    assert record.read(directory)["result"] == record.RUNNING
    holder.kill()
    holder.wait()
    data = record.read(directory)
    assert data["result"] == record.INTERRUPTED and data["last_sign"].startswith("20")
    assert [stage["title"] for stage in data["stages"]] == ["First"]


def test_a_killed_run_reads_as_interrupted_while_the_next_one_is_at_work(directory, holder):
    record.Record.open(directory, "orchestrate.cluster", "20250101")
    assert [data["result"] for data in record.runs(directory)] == [record.RUNNING, record.INTERRUPTED]


def test_the_oldest_records_go(directory):
    for jid in ("1", "2", "3", "4"):
        record.Record.open(directory, "orchestrate.cluster", jid, keep=2)
    assert [data["jid"] for data in record.runs(directory)] == ["4", "3"]


def test_the_record_of_the_run_itself_is_always_kept(directory):
    record.Record.open(directory, "orchestrate.cluster", "1", keep=0).close(record.SUCCEEDED, 1)
    assert record.read(directory)["result"] == "succeeded"


def test_a_run_that_is_not_recorded(directory):
    with pytest.raises(record.RecordError, match="no run is recorded in"):
        record.read(directory)
    record.Record.open(directory, "orchestrate.cluster", "1")
    with pytest.raises(record.RecordError, match=r"no run 2 is recorded in .*: salt-run cluster.history"):
        record.read(directory, "2")


def test_a_record_that_cannot_be_read_is_named(directory):
    (directory / "runs" / "1.json").write_text("{")
    with pytest.raises(record.RecordError, match=r"runs/1.json cannot be read .*remove it"):
        record.last_run(directory)


def test_secrets_that_got_into_a_message_are_blotted_out(directory):
    run = record.Record.open(directory, "orchestrate.cluster", "1")
    run.stage("Join", 0, 1, record.FAILED, comment="kubeadm join --token abcdef.0123456789abcdef: refused")
    told = Problem("n1", "Join", f"--certificate-key {'a1' * 32} is not valid", code="kubeadm-failed")
    run.close(record.FAILED, 1, [told])
    text = run.path.read_text()
    assert "0123456789abcdef" not in text and "a1a1" not in text
    assert "<token>: refused" in text and "<key> is not valid" in text
