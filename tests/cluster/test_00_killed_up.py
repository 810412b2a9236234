"""A `make up` that is killed half way is taken down by `make down`, as if it had never been."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from lab.paths import Paths

from .conftest import make
from .lab_shell import CHECKOUT
from .probe import wait_until
from .test_09_down import traces

# Machines run, states are at work on them, the master answers: nothing of the lab is not there.
HALF_WAY = "Nodes are prepared: system, binaries, CRI-O, kubelet, HAProxy | begins"
BUILDS_S = 60 * 60  # what is cached is not built again; a machine that has nothing builds all of it first


def test_a_killed_up_is_taken_down_without_a_trace(owned: bool, tmp_path: Path) -> None:
    if not owned:
        pytest.skip("this cluster was up before the tests: it is yours, and stays")
    state, log = Paths.from_environment().state, tmp_path / "up.log"
    with log.open("w") as stream:
        up = subprocess.Popen(
            ["make", "up"], cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            wait_until("make up is half way", lambda: HALF_WAY in log.read_text() or up.poll() is not None, BUILDS_S)
            assert up.poll() is None, f"make up ended before it was half way:\n{log.read_text()[-3000:]}"
        finally:
            os.killpg(up.pid, signal.SIGKILL)
            up.wait()
    assert traces(state)["processes"], "nothing runs: it was killed before anything was there"
    make("down", tmp_path / "down.log", timeout_s=300)
    assert traces(state) == {kind: [] for kind in traces(state)}
