"""The cluster of these tests: the checkout's table with a second load balancer, from a copy of the checkout."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from saltern import definition
from saltern.model import Cluster
from tests.cluster.conftest import cluster_is_up, make
from tests.cluster.lab_shell import CHECKOUT, Shell, lab_environment

VIRTUAL_ADDRESS = "192.168.100.149"
SECOND = "  saw-k8s-ha-02: {role: load_balancer, address: 192.168.100.148, cpus: 2, memory_gib: 4, disk_gib: 20}\n"


@dataclass(frozen=True)
class Installation:
    """A copy of the checkout, whose table the tests may edit as an operator would."""

    checkout: Path
    shell: Shell

    @property
    def table(self) -> Cluster:
        """The definition as it is now."""
        return definition.load([self.checkout / "pillar", Path(self.shell.environment["SALTERN_STATE"]) / "pillar"])

    def add_rows(self, rows: str) -> None:
        """Rows at the head of the table."""
        _edit(self.checkout, "nodes:\n", f"nodes:\n{rows}")


def _edit(checkout: Path, old: str, new: str) -> None:
    path = checkout / "pillar/cluster.sls"
    text = path.read_text()
    assert text.count(f"\n{old}") == 1, f"{path} has no single {old!r}"
    path.write_text(text.replace(f"\n{old}", f"\n{new}"))


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A pair of load balancers in front of the table's cluster; taken down afterwards."""
    assert not cluster_is_up(), "a cluster is up, and these tests need one of their own: make down"
    checkout, logs = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("make")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, check=True).stdout
    copy = ["tar", "--create", "--null", "--files-from=-"]
    archive = subprocess.run(copy, cwd=CHECKOUT, input=files, capture_output=True, check=True).stdout
    subprocess.run(["tar", "--extract"], cwd=checkout, input=archive, check=True)
    _edit(checkout, "cluster:\n", f"cluster:\n  virtual_address: {VIRTUAL_ADDRESS}\n")
    _edit(checkout, "nodes:\n", f"nodes:\n{SECOND}")
    try:
        make("up", logs / "up.log", timeout_s=75 * 60, checkout=checkout)
        yield Installation(checkout, Shell(lab_environment(checkout)))
    finally:
        make("down", logs / "down.log", timeout_s=5 * 60, checkout=checkout)
