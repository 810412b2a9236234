"""A server that is about to go is sent nothing new by the real HAProxy, until it may be or a while has passed.

systemd is played by two scripts: what they start and stop are real processes.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.functional.node.conftest import Minion
from tests.functional.pair.conftest import seconds_until
from tests.functional.pair.test_reload import Client, Named, answer, as_a_unit

# systemd-run OPTIONS PROGRAM ...: the program goes on by itself, its number is kept under the unit's name.
SYSTEMD_RUN = """\
#!/bin/sh
while :; do case $1 in --unit=*) unit=${1#--unit=};; --*) ;; *) break;; esac; shift; done
setsid "$@" >/dev/null 2>&1 &
echo $! > "$UNITS/$unit"
"""
# systemctl stop UNIT: ends the program and waits for it; 5 when there is none, as systemd has it.
SYSTEMCTL = """\
#!/bin/sh
pid=$(cat "$UNITS/$2" 2>/dev/null) || exit 5
rm "$UNITS/$2"
kill "$pid" 2>/dev/null
while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
"""


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the numbers of the started programs are; nothing outlives the test."""
    programs, kept = tmp_path / "bin", tmp_path / "units"
    programs.mkdir()
    kept.mkdir()
    for name, script in (("systemd-run", SYSTEMD_RUN), ("systemctl", SYSTEMCTL)):
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("UNITS", str(kept))
    yield kept
    for unit in list(kept.iterdir()):
        subprocess.run(["systemctl", "stop", unit.name], check=False)


class Api:
    """A HAProxy in front of two servers, configured as a load balancer's is."""

    def __init__(self, minion: Minion, root: Path, servers: dict[str, Named]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.bind = f"127.0.0.1:{free.getsockname()[1]}"
        self.minion, self.socket, self.config = minion, str(root / "stats.sock"), root / "haproxy.cfg"
        listed = [{"name": name, "address": server.address} for name, server in servers.items()]
        backends = [{"name": "api", "check": "tcp", "servers": listed}]
        frontends = [{"name": "api", "bind": self.bind, "backend": "api"}]
        self.config.write_text(minion.call("haproxy.text", frontends, backends, socket_path=self.socket))

    def drain(self, *names: str, hold_s: float = 60) -> dict[str, str]:
        told: dict[str, str] = self.minion.call("haproxy_drain.drain", self.socket, list(names), hold_s=hold_s)
        return told

    def resume(self, *names: str) -> list[str]:
        held: list[str] = self.minion.call("haproxy_drain.resume", self.socket, list(names))
        return held

    def status(self) -> dict[str, str]:
        rows = self.minion.call("haproxy.servers", self.socket)
        return {row["server"]: row["status"] for row in rows}

    def answers(self) -> set[str]:
        """Who takes new connections."""
        return {answer(self.bind) for _ in range(6)}


@pytest.fixture
def servers() -> Iterator[dict[str, Named]]:
    running = {name: Named(name) for name in ("goes", "stays")}
    yield running
    for server in running.values():
        server.shutdown()
        server.server_close()


@pytest.fixture
def api(minion: Minion, tmp_path: Path, servers: dict[str, Named], units: Path) -> Iterator[Api]:
    made = Api(minion, tmp_path, servers)
    with as_a_unit(tmp_path, made.config):
        seconds_until(lambda: made.answers() == {"goes", "stays"})
        yield made


def listens_to_its_end(pid: int) -> bool:
    """Whether a process catches SIGTERM (proc(5): SigCgt, a mask)."""
    status = Path(f"/proc/{pid}/status").read_text().split("SigCgt:")[1].split()[0]
    return bool(int(status, 16) >> (signal.SIGTERM - 1) & 1)


def follower(api: Api, name: str) -> Client:
    """A client that is connected to a server."""
    clients = [Client(api.bind) for _ in range(4)]
    return next(client for client in clients if client.ask() == name)


def test_new_connections_go_elsewhere_and_open_ones_stay(api: Api) -> None:
    log = follower(api, "goes")
    assert api.drain("goes") == {"goes": "api: sent nothing new for 60 s"}
    assert api.answers() == {"stays"}
    assert log.ask() == "goes"
    assert api.status()["goes"] == "DRAIN"


def test_nothing_fails_when_the_server_then_goes_and_comes_back(api: Api, servers: dict[str, Named]) -> None:
    api.drain("goes")
    address = servers["goes"].server_address
    servers["goes"].shutdown()
    servers["goes"].server_close()
    deadline = time.monotonic() + 6  # well beyond three checks that fail
    while time.monotonic() < deadline:
        assert answer(api.bind) == "stays"
        time.sleep(0.05)
    assert api.status()["goes"] == "DOWN"
    servers["goes"] = Named("goes", address)
    assert api.resume("goes") == ["goes"]
    seconds_until(lambda: api.answers() == {"goes", "stays"})


def test_a_drain_that_nobody_ends_ends_by_itself(api: Api) -> None:
    api.drain("goes", hold_s=1.5)
    assert api.answers() == {"stays"}
    assert seconds_until(lambda: "goes" in api.answers()) < 10


def test_one_that_is_ended_early_is_over_when_its_keeper_is(api: Api, units: Path) -> None:
    api.drain("goes")
    (unit,) = units.iterdir()
    assert unit.name == "saltern-drain-goes.service"
    seconds_until(lambda: listens_to_its_end(int(unit.read_text())))
    subprocess.run(["systemctl", "stop", unit.name], check=True)
    assert api.answers() == {"goes", "stays"}


def test_a_keeper_that_did_not_say_so_is_made_up_for(api: Api, units: Path) -> None:
    """As one that is stopped before it listens to signals."""
    api.drain("goes")
    (unit,) = units.iterdir()
    os.kill(int(unit.read_text()), signal.SIGKILL)
    assert api.resume("goes") == ["goes"]
    assert api.answers() == {"goes", "stays"}


def test_a_reload_ends_it(api: Api, tmp_path: Path) -> None:
    api.drain("goes")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGUSR2)
    seconds_until(lambda: api.answers() == {"goes", "stays"})


def test_the_last_server_goes_on(api: Api) -> None:
    assert all(told.endswith("and nobody else is up") for told in api.drain("goes", "stays").values())
    assert api.answers() == {"goes", "stays"}


def test_a_configuration_of_before_refuses(api: Api, units: Path, tmp_path: Path) -> None:
    api.config.write_text(api.config.read_text().replace("level admin", "level operator"))
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGUSR2)

    def refused() -> bool:
        try:
            api.drain("goes")
        except CommandExecutionError as err:
            return "does not set goes to drain: Permission denied" in str(err)
        return False

    seconds_until(refused)
    assert list(units.iterdir()) == []
    assert api.answers() == {"goes", "stays"}
