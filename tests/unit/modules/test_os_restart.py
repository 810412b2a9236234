"""A boot is told from the next one, and the restart waits for its own answer to leave."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.salt_node import Node

# /proc/1/stat of a Debian 12 node of the lab; brackets and blanks are allowed in a command's name.
STAT = "1 (systemd (x) y) S 0 1 1 0 -1 4194560 64402 1718 28 63 162 130 2 3 20 0 1 0 {start} 172785664 3233 0 0\n"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path, {}, ["os_restart"])


def proc(directory: Path, boot_id: str, start: int) -> str:
    (directory / "sys/kernel/random").mkdir(parents=True, exist_ok=True)
    (directory / "sys/kernel/random/boot_id").write_text(f"{boot_id}\n")
    (directory / "1").mkdir(exist_ok=True)
    (directory / "1/stat").write_text(STAT.format(start=start))
    return str(directory)


def test_a_boot_is_the_kernels_and_that_of_pid_1(node: Node, tmp_path: Path) -> None:
    """A container restarts under the same kernel, a virtual machine's PID 1 starts at the same tick each time."""
    boot = node.salt["os_restart.boot"]
    assert boot(proc(tmp_path, "aa-1", 120593)) == "aa-1/120593"
    assert boot(proc(tmp_path, "aa-1", 998877)) == "aa-1/998877"
    assert boot(proc(tmp_path, "bb-2", 120593)) == "bb-2/120593"


def test_this_very_machine_has_one(node: Node) -> None:
    assert node.salt["os_restart.boot"]() == node.salt["os_restart.boot"]()
    assert node.salt["os_restart.boot"]().rpartition("/")[2].isdigit()


def test_a_restart_is_ordered_for_when_this_job_has_ended(node: Node) -> None:
    calls: list[list[str]] = []
    node.salt["cmd.run_all"] = lambda argv, **_: calls.append(argv) or {"retcode": 0, "stdout": "", "stderr": ""}
    node.salt["os_restart.boot"] = lambda: "aa-1/7"
    assert node.salt["os_restart.order"]() == "aa-1/7"
    ((*command, shell, option, script),) = calls
    assert command == ["systemd-run", "--quiet", "--collect", "--unit=saltern-restart"]
    assert (shell, option) == ("/bin/sh", "-c")
    assert script == f"timeout 60 tail --pid={os.getpid()} -f /dev/null; exec systemctl reboot"


def test_an_order_that_is_refused_is_an_error(node: Node) -> None:
    said = "Failed to start transient service unit: Unit saltern-restart.service was already loaded"
    node.salt["cmd.run_all"] = lambda argv, **_: {"retcode": 1, "stdout": "", "stderr": said}
    with pytest.raises(CommandExecutionError, match=r"could not be ordered: systemd-run: .* already loaded"):
        node.salt["os_restart.order"]()
