"""Two load balancers: two networks of this machine, joined by a cable, with the real HAProxy and keepalived in them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.artefacts import debs
from lab.paths import CHECKOUT, Paths
from saltern import node_pillar
from tests.functional.node.conftest import Minion
from tests.unit.saltern.definitions import PAIR, shipped

# keepalived and those of its libraries that Debian does not have anyway. It is not installed: it would run.
PACKAGES = ("keepalived", "libnl-3-200", "libnl-genl-3-200", "libpci3", "libsensors5", "libsnmp40", "libwrap0")
DEVICE = "card"
VIRTUAL = "192.168.100.149"
NAMES = ("saw-k8s-ha-01", "saw-k8s-ha-02")


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the command keepalived, as Debian's package has it."""
    root = tmp_path_factory.mktemp("keepalived")
    mirror = Paths.from_environment().mirror / "debian"
    for package in PACKAGES:
        deb = next(mirror.glob(f"{package}_*.deb"), None) or debs.download_one(package, root / "debs")
        with debs.contents(deb) as archive:
            archive.extractall(root / "unpacked", filter="data")
    libraries = ":".join(str(path) for path in (root / "unpacked").glob("**/lib/*-linux-gnu"))
    command = root / "bin/keepalived"
    command.parent.mkdir()
    program = root / "unpacked/usr/sbin/keepalived"
    command.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {program} "$@"\n')
    command.chmod(0o755)
    return command.parent


@pytest.fixture(scope="session")
def minion(tmp_path_factory: pytest.TempPathFactory) -> Minion:
    """The functions of a minion."""
    return Minion(tmp_path_factory.mktemp("minion"))


@pytest.fixture
def check(tmp_path: Path) -> Path:
    """The script as the node has it: root's, and nobody else may write it."""
    script = tmp_path / "check-haproxy"
    shutil.copyfile(CHECKOUT / "salt/keepalived/files/check-haproxy", script)
    script.chmod(0o755)
    return script


@pytest.fixture
def settings(tmp_path: Path, check: Path) -> dict[str, dict[str, Any]]:
    """What the pillar of each load balancer says: its parts ``haproxy`` and ``keepalived``."""
    found = shipped(tmp_path / "definition", PAIR)
    pillars = {name: node_pillar.build(found, name)["saltern"] for name in NAMES}
    for pillar in pillars.values():
        pillar["keepalived"]["check"]["path"] = str(check)
        pillar["haproxy"]["socket"] = None  # /run is one for both
    return pillars


class Balancer:
    """A load balancer: a network of its own, and the programs that run in it."""

    def __init__(self, root: Path, name: str, pillar: dict[str, Any], minion: Minion, programs: Path) -> None:
        self.name, self.address = name, pillar["keepalived"]["address"]
        self.root = root / name
        self.root.mkdir()
        self.programs = programs
        self.log = self.root / "keepalived.log"
        haproxy = pillar["haproxy"]
        (self.root / "haproxy.cfg").write_text(
            minion.call("haproxy.text", haproxy["frontends"], haproxy["backends"], alive=haproxy["alive"])
        )
        (self.root / "keepalived.conf").write_text(minion.call("keepalived.text", pillar["keepalived"], DEVICE))
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        # Says that the network is there, then keeps it.
        self.network = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE
        )
        assert self.network.stdout
        self.network.stdout.readline()
        self.run("ip", "link", "set", "lo", "up")

    def inside(self, argv: tuple[str, ...]) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.network.pid}/ns/net", *argv]

    def run(self, *argv: str) -> str:
        return subprocess.run(self.inside(argv), capture_output=True, text=True, check=True).stdout

    def start(self, program: str) -> None:
        commands = {
            "haproxy": ("haproxy", "-db", "-f", f"{self.root}/haproxy.cfg"),
            "keepalived": (
                f"{self.programs}/keepalived", "--dont-fork", "--log-console", "--log-detail", "--vrrp",
                "--use-file", f"{self.root}/keepalived.conf", "--pid", f"{self.root}/pid",
                "--vrrp_pid", f"{self.root}/vrrp.pid",
            ),
        }  # fmt: skip
        with self.log.open("ab") as log:
            # A session of its own: its end must not reach pytest, nor pytest's its children.
            self.running[program] = subprocess.Popen(
                self.inside(commands[program]), stdout=log, stderr=log, start_new_session=True
            )

    def signal(self, program: str, what: signal.Signals) -> None:
        os.killpg(self.running[program].pid, what)

    def holds(self) -> bool:
        return f" {VIRTUAL}/32 " in self.run("ip", "-4", "address", "show", "dev", DEVICE)

    def close(self) -> None:
        for process in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.network.kill()
        self.network.wait()


@pytest.fixture
def pair(
    tmp_path: Path, settings: dict[str, dict[str, Any]], minion: Minion, programs: Path
) -> Iterator[tuple[Balancer, Balancer]]:
    """Two load balancers on one network; nothing runs on them yet."""
    first, second = balancers = tuple(Balancer(tmp_path, name, settings[name], minion, programs) for name in NAMES)
    other = str(second.network.pid)
    try:
        first.run("ip", "link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns", other)
        for balancer in balancers:
            balancer.run("ip", "address", "add", f"{balancer.address}/24", "dev", DEVICE)
            balancer.run("ip", "link", "set", DEVICE, "up")
        yield first, second
    finally:
        for balancer in balancers:
            balancer.close()


def seconds_until(happened: Callable[[], bool], deadline_s: float = 20.0) -> float:
    """How long it took until something was so."""
    begun = time.monotonic()
    while not happened():
        assert time.monotonic() - begun < deadline_s, f"not so after {deadline_s} s"
        time.sleep(0.02)
    return time.monotonic() - begun
