"""What the API needs of the machines behind it: one Protocol, implemented outside of this package.

All methods block and are called from worker threads, never two at the same time for the same machine, except
``running``, ``interfaces`` and ``exec``, which may come at any time.
None of them knows about permissions, locks or tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class MachineError(Exception):
    """A machine refused or failed; the text becomes the error of the Proxmox task."""


@dataclass(frozen=True)
class NetworkCard:
    """One network card of a machine.

    Attributes:
        index: number of the ``netN`` option, which pairs it with ``ipconfigN``.
        mac: hardware address, upper case, ``BC:24:11:AA:BB:CC``.
        bridge: bridge of the host that it is plugged into.
    """

    index: int
    mac: str
    bridge: str


@dataclass(frozen=True)
class MachineConfig:
    """All that a machine is told at its start.

    Attributes:
        name: host name (the name of the VM).
        cores: virtual CPUs (cores x sockets).
        memory_mib: memory in MiB.
        nets: network cards, ordered by index.
        ipconfig: cloud-init addresses by card index, as Proxmox writes them: ``{0: "ip=10.0.0.5/24,gw=10.0.0.1"}``.
        ciuser: user that cloud-init makes, or None.
        sshkeys: public keys for that user, one line each, decoded.
        iso_paths: ISO images in the CD drives, in drive order: uploaded ones and the built cloud-init drive. Those
            with the volume label ``cidata`` are seeds for cloud-init.
        has_cloudinit_drive: True when one of them was built from ciuser, sshkeys and ipconfig.
    """

    name: str
    cores: int
    memory_mib: int
    nets: tuple[NetworkCard, ...]
    ipconfig: dict[int, str]
    ciuser: str | None
    sshkeys: tuple[str, ...]
    iso_paths: tuple[Path, ...]
    has_cloudinit_drive: bool


@dataclass(frozen=True)
class Interface:
    """One network interface as the machine itself sees it.

    Attributes:
        name: ``eth0``.
        mac: hardware address, lower case.
        addresses: with prefix length, ``("192.168.100.151/24", "fe80::1/64")``.
    """

    name: str
    mac: str
    addresses: tuple[str, ...]


class Machines(Protocol):
    """The machines behind the API, each known by its Proxmox VM ID."""

    def template_ids(self) -> list[int]:
        """Return the IDs that can be cloned from the start (the lab's templates)."""

    def clone(self, source_id: int, target_id: int, full: bool) -> None:
        """Make ``target_id`` a stopped copy of the stopped ``source_id``; ``full`` asks for a copy that shares nothing.

        Raises:
            MachineError: no space, no such source; nothing of the target is left behind.
        """

    def destroy(self, machine_id: int) -> None:
        """Remove a stopped machine and its disks; a machine that does not exist is no error."""

    def resize(self, machine_id: int, disk: str, size_bytes: int) -> None:
        """Grow ``disk`` (``scsi0``) of a machine, running or not, to ``size_bytes``.

        Raises:
            MachineError: the space is not there.
        """

    def start(self, machine_id: int, config: MachineConfig) -> None:
        """Switch a stopped machine on; returns once it is on (not: once it has booted).

        Raises:
            MachineError: it cannot be switched on.
        """

    def stop(self, machine_id: int, force: bool) -> None:
        """Switch a machine off; returns once it is off. A machine that is off already is no error.

        Args:
            machine_id: the VM ID.
            force: False asks the machine to shut down, True pulls the plug.

        Raises:
            MachineError: it is still on.
        """

    def running(self, machine_id: int) -> bool:
        """Say whether a machine is on. Cheap: called for each machine of every list."""

    def interfaces(self, machine_id: int) -> list[Interface]:
        """Return the network interfaces as seen from inside a running machine.

        Raises:
            MachineError: nothing inside answers yet (the API says that the guest agent is not running).
        """

    def exec(self, machine_id: int, argv: list[str], stdin: bytes) -> tuple[int, bytes, bytes]:
        """Run a command inside a running machine and wait for its end.

        Returns:
            exit code (127: no such command), standard output, standard error.

        Raises:
            MachineError: nothing inside answers yet (the API says that the guest agent is not running).
        """
