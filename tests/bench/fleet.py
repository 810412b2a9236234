"""A Salt master and many workers' minions on this machine's loopback, for what needs more nodes than the lab has.

Real: the master with this checkout's code and file root and the lab's definition; each minion's program, key,
connection, pillar, file transfer and state run, on a copy-on-write copy of the root directory of a worker of the
running lab. Simulated: systemd (``systemctl.sh`` answers that every unit runs); one kernel, network and process table
for all; no kubelet, CRI-O or pod runs on them. States are applied in test mode, because the kernel is this machine's.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from lab.network import inside

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
MINION = "/opt/saltstack/salt/bin/salt-minion"  # of the node: lab/nodes/template.py
# What a copy of another worker lacks: its own names and address, and what a boot leaves on /run.
SETTLED = "os.account,os.directories,os.hosts,crio.service,kubelet.running"
FIRST_WORKER = IPv4Address("192.168.100.10")
START_S, STOP_S, ANSWER_S = 180.0, 20.0, 600
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def workers(count: int) -> list[str]:
    """Minion IDs of simulated workers."""
    return [f"saw-k8s-w-{number:02d}" for number in range(1, count + 1)]


def cluster_overlay(names: Sequence[str]) -> dict[str, Any]:
    """What a definition with these workers has beside the shipped one; their addresses are free in its network."""
    row = {"role": "worker", "cpus": 2, "memory_gib": 4, "disk_gib": 20}
    return {"nodes": {name: row | {"address": str(FIRST_WORKER + number)} for number, name in enumerate(names)}}


def free_ports(count: int) -> list[int]:
    """TCP ports that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(sock.getsockname()[1]) for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and of its children that have ended, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(value) for value in fields[11:15]) / TICKS_PER_S


def below(pid: int) -> list[int]:
    """A process and all processes below it."""
    found = [pid]
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(OSError):
            found += below(int(child))
    return found


@dataclass
class Fleet:
    """A master with ``names`` as its minions; a context manager that starts and ends them all.

    Args:
        names: minion IDs.
        node_root: root directory of a prepared worker; it is only read.
        pillar_dirs: the definition that this worker was prepared by; rows for ``names`` are added.
        settings: further settings of the master.
    """

    names: list[str]
    node_root: Path
    pillar_dirs: list[Path]
    settings: dict[str, Any] = field(default_factory=dict)
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __enter__(self) -> Fleet:
        # A short path: it becomes part of socket names, which the kernel limits to 107 bytes.
        self.root = Path(tempfile.mkdtemp(prefix="saltern-fleet-", dir="/tmp"))
        try:
            self._configure()
            self._start("master", [self._program("salt-master"), f"--config-dir={self.root / 'master'}"])
            for name in self.names:
                self._start(name, self._minion_command(name))
            self._await_all()
            self._settle()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._end()

    def salt(self, names: Sequence[str], *arguments: str) -> str:
        """Run ``salt`` on some minions; its standard output. Its exit code says only whether all states succeeded."""
        command = [self._program("salt"), f"--config-dir={self.root / 'master'}", f"--timeout={ANSWER_S}"]
        command += ["--list", ",".join(names), *arguments]
        done = subprocess.run(inside(command), capture_output=True, text=True, env=self._environment(), check=False)
        return done.stdout

    def applied(self, names: Sequence[str], *arguments: str) -> dict[str, dict[str, Any]]:
        """Run ``state.apply`` on some minions: what each returned. Raises RuntimeError for one without states."""
        returned: dict[str, Any] = json.loads(self.salt(names, "--out=json", "--static", "state.apply", *arguments))
        for name in names:
            if not isinstance(returned.get(name), dict):
                raise RuntimeError(f"{name} ran no states: {returned.get(name)}")
        return returned

    def cpu(self) -> dict[str, float]:
        """Processor seconds that each daemon has used so far, its jobs included."""
        return {name: sum(cpu_seconds(pid) for pid in below(daemon.pid)) for name, daemon in self.daemons.items()}

    # -- setting up ------------------------------------------------------------------------------------------------

    def _configure(self) -> None:
        publish_port, ret_port = free_ports(2)
        overlay = self.root / "pillar"
        overlay.mkdir()
        _write(overlay / "cluster.sls", cluster_overlay(self.names))
        pillar_dirs = [str(path) for path in (*self.pillar_dirs, overlay)]
        (self.root / "master").mkdir()
        _write(
            self.root / "master" / "master",
            {
                "root_dir": str(self.root / "master"),
                "user": "root",
                "interface": "127.0.0.1",
                "publish_port": publish_port,
                "ret_port": ret_port,
                "auto_accept": True,  # a fleet for one measurement, on loopback
                "file_roots": {"base": [str(CHECKOUT / "salt")]},
                "module_dirs": [str(CHECKOUT / "salt")],
                "ext_pillar": [{"saltern": {}}],
                "saltern": {"pillar_dirs": pillar_dirs, "state_dir": str(self.root / "state")},
                "worker_threads": 4,
                "minion_data_cache": False,
                "timeout": 60,
                "gather_job_timeout": 60,
                "log_level": "error",
            }
            | self.settings,
        )
        for name in self.names:
            self._configure_minion(name, {"master": "127.0.0.1", "publish_port": publish_port, "master_port": ret_port})

    def _configure_minion(self, name: str, master: dict[str, Any]) -> None:
        """Its layers of the file system, with a configuration that has the lab's keys and master out of the way."""
        work = self.root / name
        for directory in ("node", "scratch", "upper/etc/fleet/pki", "upper/usr/local/sbin"):
            (work / directory).mkdir(parents=True)
        own = {"id": name, "user": "root", "pki_dir": "/etc/fleet/pki", "log_level": "error", "mine_enabled": False}
        _write(work / "upper/etc/fleet/minion", own | master)
        shutil.copy(HERE / "systemctl.sh", work / "upper/usr/local/sbin/systemctl")

    def _minion_command(self, name: str) -> list[str]:
        in_copy = [str(HERE / "simulated_node.sh"), name, str(self.node_root), str(self.root / name)]
        return ["unshare", "--mount", "--uts", "--propagation=private", *in_copy, MINION, "--config-dir=/etc/fleet"]

    def _start(self, name: str, command: list[str]) -> None:
        with (self.root / f"{name}.log").open("wb") as log:
            # A group of its own: what Salt forks is ended with it.
            self.daemons[name] = subprocess.Popen(
                inside(command), stdout=log, stderr=log, env=self._environment(), start_new_session=True
            )

    def _await_all(self) -> None:
        """Return once every minion has answered a ping. Raises TimeoutError naming those that have not."""
        deadline, missing = time.monotonic() + START_S, list(self.names)
        while missing:
            said = self.salt(missing, "--timeout=10", "--out=txt", "test.ping")
            missing = [name for name in missing if f"{name}: True" not in said]
            if missing and time.monotonic() > deadline:
                silent = ", ".join(missing)
                raise TimeoutError(f"no answer within {START_S:.0f} s: {silent}; {self._last_words(missing[0])}")

    def _settle(self) -> None:
        """Give each copy what differs from node to node, by the states themselves; they write into the copy only."""
        for name, states in self.applied(self.names, SETTLED).items():
            if wrong := [state["comment"] for state in states.values() if state["result"] is not True]:
                raise RuntimeError(f"{name} could not be made a node of its own: {'; '.join(map(str, wrong))}")

    def _last_words(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text()[-500:]

    def _end(self) -> None:
        """End every daemon that was started, and remove its files."""
        for daemon in self.daemons.values():
            with suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGTERM)
        for daemon in self.daemons.values():
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(STOP_S)
            with suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGKILL)
        shutil.rmtree(self.root, ignore_errors=True)

    def _program(self, name: str) -> str:
        return str(Path(sys.executable).with_name(name))

    def _environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(CHECKOUT), "PYTHONWARNINGS": "ignore"}


def _write(path: Path, data: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(data, sort_keys=False))
