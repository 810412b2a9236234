"""Machines for the emulated Proxmox that do what a real one does with its seed image: run a salt-minion from it.

The emulator calls them as `--machines tests.integration.cloud.machines:SeededMachines`. The environment says where they
live (SALTERN_TEST_MACHINES) and on which port the master listens (SALTERN_TEST_MASTER_PORT).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pycdlib
import yaml

from lab.proxmox.machines import Interface, MachineConfig, MachineError

_SALT_MINION = Path(sys.executable).with_name("salt-minion")
# Where this file is in their directory, machines that are started boot, and their minion never does.
MUTE = "mute"
# A machine that shuts down does not wait for its minion, which may take 20 s to look up from a lost connection.
SHUTDOWN_S = 2


@dataclass
class Running:
    """A machine that is on: its minion's process and what its seed said."""

    process: subprocess.Popen[bytes]
    mac: str
    addresses: tuple[str, ...]


class SeededMachines:
    """A start reads the seed as cloud-init would, writes its files below the machine's root, starts the minion."""

    def __init__(self) -> None:
        self._directory = Path(os.environ["SALTERN_TEST_MACHINES"])
        self._master_port = int(os.environ["SALTERN_TEST_MASTER_PORT"])
        self._running: dict[int, Running] = {}

    def template_ids(self) -> list[int]:
        return [9000]

    def clone(self, source_id: int, target_id: int, full: bool) -> None:
        self._root(target_id).mkdir()

    def destroy(self, machine_id: int) -> None:
        shutil.rmtree(self._root(machine_id), ignore_errors=True)

    def resize(self, machine_id: int, disk: str, size_bytes: int) -> None:
        (self._root(machine_id) / f"{disk}.size").write_text(str(size_bytes))

    def start(self, machine_id: int, config: MachineConfig) -> None:
        root = self._root(machine_id)
        for path in config.iso_paths:
            self._first_boot(root, read_seed(path))
        network = json.loads((root / "network-config").read_text())
        (interface,) = network["ethernets"].values()
        mute = (self._directory / MUTE).exists()
        process = subprocess.Popen(
            ["sleep", "600"] if mute else [_SALT_MINION, "-c", root / "etc/salt", "-l", "warning"],
            stdout=(root / "minion.out").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        (root / "pid").write_text(str(process.pid))
        self._running[machine_id] = Running(process, interface["match"]["macaddress"], tuple(interface["addresses"]))

    def stop(self, machine_id: int, force: bool) -> None:
        running = self._running.pop(machine_id, None)
        if running is None:
            return
        if not force:
            running.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(SHUTDOWN_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()

    def running(self, machine_id: int) -> bool:
        return machine_id in self._running

    def interfaces(self, machine_id: int) -> list[Interface]:
        running = self._running.get(machine_id)
        if running is None:
            raise MachineError("nothing answers")
        return [Interface("eth0", running.mac, running.addresses)]

    def exec(self, machine_id: int, argv: list[str], stdin: bytes) -> tuple[int, bytes, bytes]:
        return 127, b"", b"no such command"

    def _root(self, machine_id: int) -> Path:
        return self._directory / str(machine_id)

    def _first_boot(self, root: Path, seed: dict[str, str]) -> None:
        """What cloud-init makes of the seed, below the machine's root."""
        user_data = yaml.safe_load(seed["user-data"])
        (root / "network-config").write_text(seed["network-config"])
        for file in user_data["write_files"]:
            path = root / file["path"].lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file["content"])
            path.chmod(int(file["permissions"], 8))
        settings = {
            "root_dir": str(root),
            "master_port": self._master_port,
            "pki_dir": str(root / "etc/salt/pki/minion"),
            "acceptance_wait_time": 1,
            "default_include": "minion.d/*.conf",
            "user": "root",
        }
        (root / "etc/salt/minion").write_text(yaml.safe_dump(settings))


def read_seed(path: Path) -> dict[str, Any]:
    """The files of a seed image, by name; {} for an image that is none."""
    disc = pycdlib.PyCdlib()
    disc.open(str(path))
    files = {}
    for child in disc.list_children(joliet_path="/"):
        if child.is_file():
            name = child.file_identifier().decode("utf-16-be")
            out = BytesIO()
            disc.get_file_from_iso_fp(out, joliet_path=f"/{name}")
            files[name] = out.getvalue().decode()
    disc.close()
    return files
