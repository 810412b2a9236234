"""Blows against the lab from outside the product: its services killed and started, commands on a node over ssh."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from saltern.model import Cluster

from .lab_shell import CHECKOUT, Shell
from .probe import wait_until


def kill_service(shell: Shell, name: str) -> None:
    """Kill a service of the lab with all its processes."""
    record = Path(shell.environment["SALTERN_STATE"]) / f"lab/run/service-{name}.json"
    pid = int(json.loads(record.read_text())["pid"])
    family = [pid, *_descendants(pid)]
    for each in family:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    wait_until(f"{name} is gone", lambda: not any(_lives(each) for each in family), deadline_s=10, every_s=0.1)


def start_services(shell: Shell, log: Path) -> None:
    """Start what does not run of the lab's services, as a supervisor would; output is appended to ``log``."""
    with log.open("a") as stream:
        subprocess.run(
            ["make", "lab-start"], cwd=CHECKOUT, env=shell.environment, stdout=stream, stderr=stream, check=True,
            timeout=300,
        )  # fmt: skip


def on_node(shell: Shell, table: Cluster, node: str, *commands: str) -> subprocess.CompletedProcess[str]:
    """Run commands on a node one after the other, as root: by the operator's ssh, for Salt may be what is struck.

    Returns the last one's end; ssh's own exit code is 255.
    """
    line = "; ".join(f"sudo {command}" for command in commands)
    target = f"{table.operator.user}@{address(table, node)}"
    return shell.run("ssh", "-o", "ConnectTimeout=5", target, line, check=False)


def address(table: Cluster, node: str) -> str:
    """The address of a row."""
    return str(table.nodes[node].address)


def _descendants(pid: int) -> list[int]:
    """Children, their children and so on, of a process. Source: proc(5), /proc/PID/task/TID/children."""
    with suppress(FileNotFoundError, ProcessLookupError):
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [each for child in children for each in (child, *_descendants(child))]
    return []


def _lives(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
