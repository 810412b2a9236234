"""pause, compiled and run: it waits, and ends at once when it is told to."""

import signal
import subprocess
from pathlib import Path

import pytest

from lab.artefacts import c_programs


@pytest.fixture(scope="module")
def pause(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled program."""
    program = tmp_path_factory.mktemp("pause") / "pause"
    c_programs.compile_pause(program)
    return program


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_pause_runs_until_told(pause: Path, ending: signal.Signals) -> None:
    with subprocess.Popen([pause]) as process:
        _wait_until_paused(process.pid)
        assert process.poll() is None
        process.send_signal(ending)
        assert process.wait(timeout=20) == 0


def _wait_until_paused(pid: int) -> None:
    """Wait until the process sleeps in the system call pause: its handlers are set by then (proc(5), syscall 34)."""
    while Path(f"/proc/{pid}/syscall").read_text().split()[0] != "34":
        pass


def test_pause_needs_nothing_but_itself(pause: Path) -> None:
    headers = subprocess.run(["readelf", "--program-headers", pause], check=True, capture_output=True, text=True).stdout
    assert "LOAD" in headers
    assert "INTERP" not in headers
