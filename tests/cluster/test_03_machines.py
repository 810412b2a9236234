"""The machines of the table: left alone by a second map run, and by a crash of the Proxmox API."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from saltern.model import Cluster

from .conftest import make
from .lab_shell import Shell
from .probe import wait_until


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
