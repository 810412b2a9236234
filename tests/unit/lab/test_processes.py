"""Detached processes: records, recognition, the end."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import processes
from lab.errors import LabError
from lab.processes import Process

STUBBORN = "import signal,sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"


def spawned(argv: list[str], log: Path) -> tuple[subprocess.Popen[bytes], Process]:
    child = processes.spawn(argv, log)
    process = Process.of(child.pid)
    assert process
    return child, process


def test_a_recorded_process_is_found_again_until_it_ends(tmp_path: Path) -> None:
    child, process = spawned(["sleep", "60"], tmp_path / "log")
    record = tmp_path / "run" / "sleep.json"
    processes.record(record, process)
    assert processes.recorded(record) == process
    processes.end(process)
    assert child.wait(5) == -signal.SIGTERM
    assert processes.recorded(record) is None


def test_a_zombie_has_ended(tmp_path: Path) -> None:
    child, process = spawned(["sleep", "60"], tmp_path / "log")
    child.kill()
    assert processes.wait(process, 5)  # ended, not yet waited for by its parent
    assert not process.alive
    child.wait()


def test_a_pid_that_another_program_has_now_is_left_alone(tmp_path: Path) -> None:
    child, process = spawned(["sleep", "60"], tmp_path / "log")
    earlier = Process(process.pid, process.started - 1)
    assert not earlier.alive
    processes.end(earlier)
    assert child.poll() is None
    processes.end(process)
    child.wait()


def test_what_does_not_listen_is_killed_at_the_deadline(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child, process = spawned([sys.executable, "-c", STUBBORN], log)
    while "up" not in log.read_text() and child.poll() is None:
        pass
    processes.end(process, deadline_s=0.2)
    assert child.wait(5) == -signal.SIGKILL


def test_the_log_takes_both_streams_and_is_private(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "log"
    processes.spawn(["sh", "-c", "echo out; echo err >&2"], log).wait()
    assert log.read_text() == "out\nerr\n"
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_process_has_a_session_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = processes.spawn(["sh", "-c", "ps -o sid= -p $$"], log)
    child.wait()
    assert log.read_text().strip() == str(child.pid)


def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="`no-such-command` is not on this machine"):
        processes.spawn(["no-such-command"], tmp_path / "log")


@pytest.mark.parametrize("text", ["", "{}", '{"pid": "x", "started": 1}', "[1]"])
def test_a_broken_record_is_named(tmp_path: Path, text: str) -> None:
    record = tmp_path / "x.json"
    record.write_text(text)
    with pytest.raises(LabError, match=r"x\.json: not a record of a process"):
        processes.recorded(record)


def test_children_are_found(tmp_path: Path) -> None:
    child, process = spawned(["sh", "-c", "sleep 60 & echo $!; wait"], tmp_path / "log")
    while not (tmp_path / "log").read_text().strip():
        pass
    inner = int((tmp_path / "log").read_text())
    assert processes.children(child.pid) == [inner]
    for each in (Process.of(inner), process):
        assert each
        processes.end(each)
    child.wait()
    assert processes.children(child.pid) == []
