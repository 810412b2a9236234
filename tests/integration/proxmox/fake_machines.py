"""Machines that live in memory: what the API's tests put behind it."""

from __future__ import annotations

import io
import threading

import pycdlib

from lab.proxmox.machines import Interface, MachineConfig, MachineError

OS_RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n'


class FakeMachines:
    """Implements lab.proxmox.machines.Machines without machines.

    Attributes:
        disks: size in bytes per machine and disk, as told by resize.
        started: what each machine was told at its last start.
        seeds: the files of the ``cidata`` image of each running machine, read as cloud-init does.
        calls: every changing call in order, ``("clone", 9000, 101, False)``.
        booted: machines whose inside answers; a start adds them unless ``boots`` is False.
        hangs: machines that ignore a request to shut down.
        gate: while it is closed (cleared), clone waits.
    """

    def __init__(self) -> None:
        self.machines = {9000}
        self.on: set[int] = set()
        self.booted: set[int] = set()
        self.hangs: set[int] = set()
        self.boots = True
        self.disks: dict[tuple[int, str], int] = {}
        self.started: dict[int, MachineConfig] = {}
        self.seeds: dict[int, dict[str, str]] = {}
        self.calls: list[tuple[object, ...]] = []
        self.clone_error: str | None = None
        self.destroy_error: str | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.cloning = threading.Event()

    def template_ids(self) -> list[int]:
        return [9000]

    def clone(self, source_id: int, target_id: int, full: bool) -> None:
        self.calls.append(("clone", source_id, target_id, full))
        self.cloning.set()
        self.gate.wait(20)
        if self.clone_error:
            raise MachineError(self.clone_error)
        if source_id not in self.machines:
            raise MachineError(f"there is no machine {source_id}")
        self.machines.add(target_id)

    def destroy(self, machine_id: int) -> None:
        self.calls.append(("destroy", machine_id))
        if self.destroy_error:
            raise MachineError(self.destroy_error)
        self.machines.discard(machine_id)

    def resize(self, machine_id: int, disk: str, size_bytes: int) -> None:
        self.calls.append(("resize", machine_id, disk, size_bytes))
        self.disks[machine_id, disk] = size_bytes

    def start(self, machine_id: int, config: MachineConfig) -> None:
        self.calls.append(("start", machine_id))
        self.started[machine_id] = config
        self.seeds[machine_id] = {}
        for path in config.iso_paths:
            self.seeds[machine_id] |= read_seed(path.read_bytes())
        self.on.add(machine_id)
        if self.boots:
            self.booted.add(machine_id)

    def stop(self, machine_id: int, force: bool) -> None:
        self.calls.append(("stop", machine_id, force))
        if not force and machine_id in self.hangs:
            raise MachineError("it hangs")
        self.on.discard(machine_id)
        self.booted.discard(machine_id)

    def running(self, machine_id: int) -> bool:
        return machine_id in self.on

    def interfaces(self, machine_id: int) -> list[Interface]:
        self._check_booted(machine_id)
        mac = self.started[machine_id].nets[0].mac.lower()
        return [
            Interface("lo", "00:00:00:00:00:00", ("127.0.0.1/8", "::1/128")),
            Interface("eth0", mac, ("192.168.100.151/24", "fe80::1/64")),
        ]

    def exec(self, machine_id: int, argv: list[str], stdin: bytes) -> tuple[int, bytes, bytes]:
        self._check_booted(machine_id)
        outputs = {"cat": (0, OS_RELEASE.encode(), b""), "uname": (0, b"6.1.0-28-amd64 #1 SMP Debian x86_64\n", b"")}
        outputs |= {"true": (0, b"", b""), "tee": (0, stdin, b""), "hostname": (0, b"w1\n", b"")}
        return outputs.get(argv[0], (127, b"", f"{argv[0]}: not found\n".encode()))

    def _check_booted(self, machine_id: int) -> None:
        if machine_id not in self.booted:
            raise MachineError("nothing answers inside")


def read_seed(image: bytes) -> dict[str, str]:
    """Return the files of an ISO image labelled ``cidata``, read by their Joliet names; none of another image."""
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(image))
    files = {}
    if iso.pvd.volume_identifier.decode().strip() == "cidata":
        for child in iso.list_children(joliet_path="/"):
            if child.is_file():
                name = child.file_identifier().decode("utf-16-be")
                content = io.BytesIO()
                iso.get_file_from_iso_fp(content, joliet_path=f"/{name}")
                files[name] = content.getvalue().decode()
    iso.close()
    return files
