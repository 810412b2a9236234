"""One real cluster for all tests of this folder, brought up by the README's command.

It is taken down at the end, unless it was up before the tests: then it is somebody's.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from saltern import definition
from saltern.model import Cluster

from .lab_shell import CHECKOUT, Shell, lab_environment
from .recorder import Recorders


def make(target: str, log: Path, timeout_s: float, checkout: Path = CHECKOUT) -> str:
    """Run a make target, its output into ``log`` as it comes; returns that output, fails with its end."""
    with log.open("w") as stream:
        done = subprocess.run(
            ["make", target], cwd=checkout, stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            timeout=timeout_s, check=False,
        )
    output = log.read_text()
    assert done.returncode == 0, f"make {target} exited {done.returncode}; the end of {log}:\n{output[-6000:]}"
    return output


def cluster_is_up() -> bool:
    """Whether an operator's cluster already runs: then the tests look at it and leave it running."""
    line = 'eval "$(make -s lab-env)" && kubectl get --raw=/readyz'
    return subprocess.run(["bash", "-c", line], cwd=CHECKOUT, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def owned() -> bool:
    """Whether these tests bring the cluster up themselves, and so take it down."""
    return not cluster_is_up()


@pytest.fixture(scope="session")
def recorders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorders]:
    """What passes on the event bus and in argument lists from before the bring-up on, for the test of secrets."""
    with Recorders(tmp_path_factory.mktemp("recordings")) as running:
        yield running


@pytest.fixture(scope="session")
def first_up(owned: bool, recorders: Recorders, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What `make up` printed when it made (or found) the cluster; the cluster lives as long as the session."""
    logs = tmp_path_factory.mktemp("make")
    try:
        yield make("up", logs / "up.log", timeout_s=75 * 60)
    finally:
        if owned:
            make("down", logs / "down.log", timeout_s=5 * 60)


@pytest.fixture(scope="session")
def shell(first_up: str) -> Shell:
    """The operator's shell of the running lab."""
    return Shell(lab_environment())


@pytest.fixture(scope="session")
def table(shell: Shell) -> Cluster:
    """The definition that the cluster was made from: the checkout's, and over it the lab's overlay."""
    return definition.load([CHECKOUT / "pillar", Path(shell.environment["SALTERN_STATE"]) / "pillar"])
