"""The server as a process of its own: start, stop, what it logs, what it says when it cannot start."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.proxmox.conftest import Client

ROOT = Path(__file__).parents[3]
MACHINES = "tests.integration.proxmox.fake_machines:FakeMachines"


def command(state: Path, port: int) -> list[str]:
    options = {"--state": state, "--address": "127.0.0.1", "--port": port, "--machines": MACHINES}
    return [sys.executable, "-m", "lab.proxmox", *(str(word) for pair in options.items() for word in pair)]


def read_until(process: subprocess.Popen[str], pattern: str) -> tuple[re.Match[str], str]:
    """Read the log of a process up to the line that matches; return the match and all that was read."""
    assert process.stderr is not None
    read = ""
    for line in process.stderr:
        read += line
        if match := re.search(pattern, line):
            return match, read
    raise AssertionError(f"ended without {pattern!r}:\n{read}")


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command(tmp_path / "state", 0), cwd=ROOT, stderr=subprocess.PIPE, text=True) as started:
        yield started
        if started.poll() is None:
            started.kill()


def test_serves_ends_on_sigterm_and_logs_no_secret(process: subprocess.Popen[str], tmp_path: Path) -> None:
    match, log = read_until(process, r"https://127\.0\.0\.1:(\d+)")
    client = Client(int(match[1]), tmp_path / "state" / "ca" / "ca.pem")
    credentials = tmp_path / "state" / "credentials"
    password = (credentials / "root@pam.password").read_text().strip()
    token = (credentials / "saltern@pve!salt.token").read_text().strip()
    ticket = client.post("/access/ticket", username="root@pam", password=password).data["ticket"]
    client.headers["Authorization"] = f"PVEAPIToken={token}"
    assert client.task(client.post("/nodes/pve/qemu/9000/clone", newid=101)) == "OK"
    client.get("/version", marker="in-the-query")
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=30)
    log += rest
    assert process.returncode == 0
    assert "POST /nodes/pve/qemu/9000/clone 200" in log
    for secret in (password, token.partition("=")[2], ticket, "in-the-query"):
        assert secret not in log


def test_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(command(tmp_path / "state", port), cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"lab.proxmox: 127.0.0.1:{port}: " in done.stderr and "Address already in use" in done.stderr
    assert "Traceback" not in done.stderr
