"""`make down` removes every trace. Last in the folder: nothing runs after it."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from .conftest import make
from .lab_shell import Shell


def traces(state: Path) -> dict[str, list[str]]:
    """What a lab leaves on a machine, by kind; empty lists when there is none."""
    commands, mounts = command_lines(), Path("/proc/mounts").read_text().splitlines()
    return {
        "processes": [line for line in commands if str(state) in line or "systemd-nspawn" in line],
        "mounts": [line for line in mounts if str(state) in line or "nspawn" in line],
        "namespaces": [str(path) for path in Path("/run/netns").glob("saltern*")],
        "cgroups": [str(path) for path in Path("/sys/fs/cgroup").glob("**/*saltern*")],
        "loop devices": [
            str(path) for path in Path("/sys/block").glob("loop*/loop/backing_file") if str(state) in path.read_text()
        ],
        "links": [line for line in ip_links() if "saltern" in line or ": br0" in line or "vb-" in line],
        "files": [str(state)] if state.exists() else [],
    }


def command_lines() -> list[str]:
    """The command lines of all processes; one that ends while it is read has none."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return lines


def ip_links() -> list[str]:
    """One line per network interface of the machine itself."""
    return subprocess.run(["ip", "-oneline", "link"], capture_output=True, text=True, check=True).stdout.splitlines()


def test_down_leaves_no_trace(shell: Shell, owned: bool, tmp_path: Path) -> None:
    if not owned:
        pytest.skip("this cluster was up before the tests: it is yours, and stays")
    state = Path(shell.environment["SALTERN_STATE"])
    unseen = [kind for kind, found in traces(state).items() if not found]
    assert unseen in ([], ["links"]), f"a running lab shows no {unseen}: the check looks in the wrong places"
    make("down", tmp_path / "down.log", timeout_s=300)
    assert traces(state) == {kind: [] for kind in traces(state)}
    make("down", tmp_path / "down-again.log", timeout_s=60)
