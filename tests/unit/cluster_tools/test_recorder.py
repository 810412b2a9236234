"""The recorder of processes, on this machine's own; that of events needs a master: tests/integration/jobs."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from tests.cluster import recorder
from tests.cluster.recorder import Recorders, Recording, heading_at, is_full


def wait_for(path: Path, word: str) -> bytes:
    """A recording's content once it has a word."""
    deadline = time.monotonic() + 30
    while word.encode() not in (content := path.read_bytes() if path.exists() else b""):
        assert time.monotonic() < deadline, f"{word} was not recorded"
        time.sleep(0.05)
    return content


def test_each_piece_is_written_once_under_its_heading_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "events"
    recording = Recording(path)
    for heading, piece in (("salt/auth", b"one"), ("salt/job/1/new", b"two"), ("salt/auth", b"one"), ("x", b"")):
        recording.take(heading, piece)
    assert path.read_bytes() == b"\n== salt/auth ==\none\n\n== salt/job/1/new ==\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert heading_at(path, path.read_bytes().index(b"two")) == "salt/job/1/new"
    assert heading_at(path, 0) == "?"
    assert not is_full(path)


def test_a_full_recording_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MAXIMUM_BYTES", 10)
    recording = Recording(tmp_path / "events")
    for piece in (b"12345", b"67890", b"more"):
        recording.take("x", piece)
    assert is_full(tmp_path / "events")
    assert b"more" not in (tmp_path / "events").read_bytes()


@pytest.mark.parametrize("heard", [True, False], ids=["told by the kernel", "by looking"])
def test_arguments_and_environment_of_a_process_are_recorded(tmp_path: Path, heard: bool) -> None:
    argument, variable = f"argument-{uuid.uuid4().hex}", f"variable-{uuid.uuid4().hex}"
    code = "import sys; from tests.cluster import recorder as r; from pathlib import Path; "
    code += "" if heard else "r._listener = lambda: None; "
    code += "r.record_processes(r.Recording(Path(sys.argv[1])))"
    path = tmp_path / "processes"
    running = subprocess.Popen(["python", "-c", code, str(path)], cwd=recorder.CHECKOUT)
    try:
        wait_for(path, "tests.cluster")  # itself: so it is listening by now
        subprocess.run(["sh", "-c", f"sleep 0.5 # {argument}"], env=os.environ | {"WORD": variable}, check=True)
        content = wait_for(path, variable)
    finally:
        running.terminate()
        running.wait(timeout=30)
    assert heading_at(path, content.index(argument.encode())) in ("cmdline of sh", "cmdline of sleep")
    assert heading_at(path, content.index(variable.encode())) in ("environ of sh", "environ of sleep")


def test_recorders_end_when_told_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALTERN_STATE", str(tmp_path / "no lab"))
    with Recorders(tmp_path) as recorders:
        wait_for(recorders.files["processes"], "tests.cluster.recorder")
        recorders.stop()
        assert recorders.files["processes"].exists()
    assert list(tmp_path.iterdir()) == []


def test_a_recorder_that_died_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALTERN_STATE", str(tmp_path / "no lab"))
    with pytest.raises(AssertionError, match="ended before its time"), Recorders(tmp_path) as recorders:
        wait_for(recorders.files["processes"], "tests.cluster.recorder")
        recorders._running[0].kill()
        recorders._running[0].wait(timeout=30)
