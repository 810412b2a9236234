"""A change of HAProxy's servers is a reload: who is connected stays so, who comes new meets the new servers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.node.conftest import Minion
from tests.functional.pair.conftest import seconds_until


class Named(socketserver.ThreadingTCPServer):
    """A server that answers each line with its own name: as a log that goes on."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, name: str, address: Any = ("127.0.0.1", 0)) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for _line in self.rfile:
                    self.wfile.write(f"{name}\n".encode())

        super().__init__(address, Handler)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def servers() -> Iterator[dict[str, Named]]:
    running = {name: Named(name) for name in ("old", "new")}
    yield running
    for server in running.values():
        server.shutdown()
        server.server_close()


class Client:
    """One connection through HAProxy."""

    def __init__(self, bind: str) -> None:
        host, _, port = bind.rpartition(":")
        self.line = socket.create_connection((host, int(port)), timeout=5).makefile("rw")

    def ask(self) -> str:
        self.line.write("?\n")
        self.line.flush()
        return self.line.readline().strip()


def answer(bind: str) -> str:
    """What a new connection gets, "" when none is to be had."""
    try:
        return Client(bind).ask()
    except OSError:
        return ""


@contextlib.contextmanager
def as_a_unit(root: Path, config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """HAProxy as the package's unit runs it, once it has said that it is ready: before, it takes no signal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.settimeout(20)
        notified.bind(str(root / "notify"))
        argv = ["haproxy", "-Ws", "-f", str(config), "-p", str(root / "pid")]
        environment = os.environ | {"NOTIFY_SOCKET": str(root / "notify")}
        with subprocess.Popen(argv, stderr=subprocess.DEVNULL, env=environment) as haproxy:
            try:
                while b"READY=1" not in notified.recv(4096):
                    continue
                yield haproxy
            finally:
                haproxy.terminate()


def test_a_connection_outlives_a_change_of_servers(
    minion: Minion, tmp_path: Path, servers: dict[str, Named]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        bind = f"127.0.0.1:{free.getsockname()[1]}"
    config = tmp_path / "haproxy.cfg"

    def write(name: str) -> None:
        frontends = [{"name": "api", "bind": bind, "backend": "api"}]
        listed = [{"name": name, "address": servers[name].address}]
        backends = [{"name": "api", "check": "tcp", "servers": listed}]
        config.write_text(minion.call("haproxy.text", frontends, backends))

    write("old")
    with as_a_unit(tmp_path, config) as haproxy:
        seconds_until(lambda: answer(bind) == "old")
        follower = Client(bind)
        assert follower.ask() == "old"
        write("new")
        haproxy.send_signal(signal.SIGUSR2)
        seconds_until(lambda: answer(bind) == "new")
        assert [follower.ask() for _ in range(3)] == ["old"] * 3
        assert answer(bind) == "new"
