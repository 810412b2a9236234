"""The guest agent: questions to the inside of a running machine, and commands that run there."""

from __future__ import annotations

import itertools
import shlex
import threading
from dataclasses import dataclass, field
from typing import Any

from lab.proxmox.errors import ProxmoxError
from lab.proxmox.machines import Interface, MachineError, Machines

_NOT_RUNNING = "QEMU guest agent is not running"


@dataclass
class _Command:
    """A command inside a machine; ``result`` is (exit code, output, errors) once it has ended."""

    result: tuple[int, bytes, bytes] | None = None
    failure: str | None = None
    ended: threading.Event = field(default_factory=threading.Event)


class Agents:
    """Runs commands in machines and keeps their results until they are fetched.

    Args:
        machines: what a VM really is.
        patience_s: how long an agent that does not answer is waited for.
    """

    def __init__(self, machines: Machines, patience_s: float) -> None:
        self._machines = machines
        self._patience_s = patience_s
        self._pids = itertools.count(1200)
        self._commands: dict[tuple[int, int], _Command] = {}

    def no_answer(self) -> ProxmoxError:
        """Return the error for an agent that does not answer, after the time that Proxmox waits for one."""
        # Nothing can happen in this time here; clients must see that the call takes long when the agent is not up.
        threading.Event().wait(self._patience_s)
        return ProxmoxError(_NOT_RUNNING)

    def interfaces(self, vmid: int) -> list[dict[str, Any]]:
        """Return the network interfaces in the words of the guest agent."""
        try:
            return [_interface(each) for each in self._machines.interfaces(vmid)]
        except MachineError as err:
            raise self.no_answer() from err

    def output(self, vmid: int, *argv: str) -> str:
        """Return the output of a short command inside the machine."""
        try:
            return self._machines.exec(vmid, list(argv), b"")[1].decode(errors="replace")
        except MachineError as err:
            raise self.no_answer() from err

    def os_info(self, vmid: int) -> dict[str, str]:
        """Return what ``get-osinfo`` says: from os-release and uname of the machine."""
        release = parse_os_release(self.output(vmid, "cat", "/etc/os-release"))
        kernel, *version, machine = self.output(vmid, "uname", "-r", "-v", "-m").split()
        names = {
            "id": "ID",
            "name": "NAME",
            "pretty-name": "PRETTY_NAME",
            "version": "VERSION",
            "version-id": "VERSION_ID",
        }
        info = {key: release[name] for key, name in names.items() if name in release}
        return info | {"kernel-release": kernel, "kernel-version": " ".join(version), "machine": machine}

    def start(self, vmid: int, argv: list[str], stdin: bytes) -> int:
        """Start a command in a machine and return its process ID."""
        self.output(vmid, "true")
        command = _Command()
        pid = next(self._pids)
        self._commands[vmid, pid] = command
        threading.Thread(target=self._run, args=(vmid, argv, stdin, command), name=f"exec-{vmid}", daemon=True).start()
        return pid

    def _run(self, vmid: int, argv: list[str], stdin: bytes, command: _Command) -> None:
        try:
            command.result = self._machines.exec(vmid, argv, stdin)
        except MachineError as err:
            command.failure = str(err)
        finally:
            command.ended.set()

    def status(self, vmid: int, pid: int) -> dict[str, Any]:
        """Return how a command stands; once it has ended, it is told once, and then forgotten.

        Raises:
            ProxmoxError: no such command, or the machine went away under it.
        """
        command = self._commands.get((vmid, pid))
        if command is None:
            raise ProxmoxError(f"Agent error: PID {pid} does not exist")
        if not command.ended.is_set():
            return {"exited": 0}
        del self._commands[vmid, pid]
        if command.result is None:
            raise ProxmoxError(_NOT_RUNNING)
        code, output, errors = command.result
        row: dict[str, Any] = {"exited": 1, "exitcode": code}
        row |= {"out-data": output.decode(errors="replace")} if output else {}
        return row | ({"err-data": errors.decode(errors="replace")} if errors else {})


def _interface(interface: Interface) -> dict[str, Any]:
    addresses = []
    for text in interface.addresses:
        address, _, prefix = text.partition("/")
        kind = "ipv6" if ":" in address else "ipv4"
        addresses.append({"ip-address": address, "ip-address-type": kind, "prefix": int(prefix)})
    return {"name": interface.name, "hardware-address": interface.mac, "ip-addresses": addresses}


def parse_os_release(text: str) -> dict[str, str]:
    """Return the assignments of an os-release file: ``ID=debian`` -> ``{"ID": "debian"}``."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key: " ".join(shlex.split(value)) for key, _, value in pairs}
