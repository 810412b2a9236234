"""One more machine by one command, and gone again without a trace; the Proxmox API may go away meanwhile."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from saltern.model import Cluster

from .conftest import make
from .lab_shell import Shell
from .probe import wait_until

NAME = "saw-k8s-w-05"


@pytest.fixture
def further_worker(shell: Shell) -> Iterator[str]:
    """A worker that is not in the table, made as an operator makes it; destroyed afterwards, whatever happened."""
    shell.run("salt-cloud", "-p", "worker", NAME, timeout_s=300)
    yield NAME
    shell.run("salt-cloud", "-y", "-d", NAME, timeout_s=120)


def test_a_further_worker_is_a_ready_machine(shell: Shell, table: Cluster, further_worker: str) -> None:
    machine = shell.json("salt-cloud", "-F", "--out=json")["my-proxmox-config"]["proxmox"][further_worker]
    assert machine["state"] == "running"
    assert machine["private_ips"] == [str(table.settings.worker_range.first)]
    assert shell.salt(further_worker, "test.ping") == {further_worker: True}
    isos = shell.run("salt-cloud", "--list-images", "my-proxmox-config").stdout
    assert "seed" not in isos, f"a seed image with a minion's key is still in Proxmox: {isos}"


def test_a_destroyed_machine_leaves_no_key_and_no_machine(shell: Shell) -> None:
    assert NAME not in shell.run("salt-key", "-L").stdout
    assert NAME not in shell.run("salt-cloud", "-Q", "--out=json").stdout


def test_the_table_is_left_alone_by_a_second_map_run(shell: Shell, table: Cluster) -> None:
    before = shell.json("salt-cloud", "-F", "--out=json")
    shell.run("salt-cloud", "-P", "-m", "cloud.maps.d/cluster.map", "-y", timeout_s=120)
    assert shell.json("salt-cloud", "-F", "--out=json") == before


def test_machines_outlive_a_crash_of_the_proxmox_api(shell: Shell, table: Cluster, tmp_path: Path) -> None:
    record = Path(shell.environment["SALTERN_STATE"]) / "lab/run/service-proxmox.json"
    pid = json.loads(record.read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until("the API's process is gone", lambda: not Path(f"/proc/{pid}").exists(), deadline_s=10, every_s=0.2)
    failed = shell.run("salt-cloud", "-Q", timeout_s=60, check=False)
    assert "192.168.100.1" in failed.stdout + failed.stderr, "the message does not name what is out of reach"
    make("lab-start", tmp_path / "start.log", timeout_s=300)
    machines = shell.json("salt-cloud", "-Q", "--out=json")["my-proxmox-config"]["proxmox"]
    assert {name: machines[name]["state"] for name in table.nodes} == dict.fromkeys(table.nodes, "running")
