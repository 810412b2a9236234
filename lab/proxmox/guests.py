"""The VMs: their configurations, where they are, and what they are called."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import asdict, dataclass, field
from typing import Any

from lab.proxmox import config_values
from lab.proxmox.config_schema import is_number
from lab.proxmox.errors import ProxmoxError
from lab.proxmox.store import Store


@dataclass
class Guest:
    """One VM.

    Attributes:
        vmid, node: its number, and the node whose folder holds its configuration.
        config: options and their values as kept, ``lock`` and ``template`` among them.
        pending: values that wait for stop and start; None: the option will go.
        snapshots: by name: ``config``, ``snaptime`` (s since the epoch), ``description``, ``vmstate``, ``parent``.
        parent: name of the snapshot that the present state descends from.
        started_at: seconds since the epoch of the last start.
        seed: the options that feed cloud-init, as they were at the last start.
        firewall: options and rules.
    """

    vmid: int
    node: str
    config: dict[str, str] = field(default_factory=dict)
    pending: dict[str, str | None] = field(default_factory=dict)
    snapshots: dict[str, dict[str, Any]] = field(default_factory=dict)
    parent: str | None = None
    started_at: float = 0.0
    seed: dict[str, str] = field(default_factory=dict)
    firewall: dict[str, Any] = field(default_factory=lambda: {"options": {}, "rules": []})

    @property
    def name(self) -> str:
        """Its name, ``VM 101`` when it has none."""
        return self.config.get("name", f"VM {self.vmid}")

    @property
    def is_template(self) -> bool:
        """True for a template."""
        return self.config.get("template") == "1"

    @property
    def lock(self) -> str | None:
        """The configuration lock (``clone``), or None."""
        return self.config.get("lock")

    @property
    def agent_enabled(self) -> bool:
        """True when the guest agent is switched on in the configuration."""
        return config_values.agent_enabled(self.config.get("agent"))

    @property
    def digest(self) -> str:
        """Sum over the configuration, which changes with it."""
        lines = [f"{key}: {value}" for key, value in sorted(self.config.items())]
        lines += [f"pending {key}: {value}" for key, value in sorted(self.pending.items())]
        return hashlib.sha1("\n".join([*lines, *sorted(self.snapshots)]).encode(), usedforsecurity=False).hexdigest()

    @property
    def merged(self) -> dict[str, str]:
        """The configuration as it will be after stop and start."""
        both = self.config | {key: value for key, value in self.pending.items() if value is not None}
        return {key: value for key, value in both.items() if self.pending.get(key, value) is not None}

    def apply_pending(self) -> None:
        """Make the values that waited the present ones."""
        self.config = self.merged
        self.pending = {}

    def check_lock(self) -> None:
        """Raise ProxmoxError when the configuration is locked."""
        if self.lock:
            raise ProxmoxError(f"VM is locked ({self.lock})")

    def check_digest(self, digest: str | None) -> None:
        """Raise ProxmoxError when a caller read another configuration than this one."""
        if digest is not None and digest != self.digest:
            raise ProxmoxError("checksum mismatch (file change by other user?)")


def shown(config: dict[str, str]) -> dict[str, Any]:
    """Return a configuration as JSON shows it: numbers as numbers, the password as stars."""
    return {key: shown_value(key, value) for key, value in config.items()}


def shown_value(option: str, value: str) -> Any:
    """Return the value of one option as JSON shows it."""
    if option == "cipassword":
        return "**********"
    if not is_number(option):
        return value
    return float(value) if "." in value else int(value)


class Guests:
    """All VMs, each kept as the record ``guests/VMID``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._guard = threading.RLock()
        records = (store.load(name) for name in store.names("guests"))
        self._guests = {record["vmid"]: Guest(**record) for record in records}

    def all(self) -> list[Guest]:
        """Return all VMs in the order of their numbers."""
        with self._guard:
            return [self._guests[vmid] for vmid in sorted(self._guests)]

    def find(self, vmid: int) -> Guest | None:
        """Return the VM with this number, on whatever node, or None."""
        return self._guests.get(vmid)

    def get(self, vmid: int, node: str) -> Guest:
        """Return a VM of a node; raises ProxmoxError as reading its configuration file does."""
        guest = self.find(vmid)
        if guest is None or guest.node != node:
            raise ProxmoxError(f"Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist")
        return guest

    def get_for_action(self, vmid: int, node: str) -> Guest:
        """Return a VM of a node; raises ProxmoxError in the words of clone, stop, reset and reboot."""
        guest = self.find(vmid)
        if guest is None or guest.node != node:
            raise ProxmoxError(f"unable to find configuration file for VM {vmid} on node '{node}'")
        return guest

    def check_free(self, vmid: int) -> None:
        """Raise ProxmoxError when a number is taken."""
        if self.find(vmid) is not None:
            raise ProxmoxError(f"unable to create VM {vmid}: config file already exists")

    def add(self, guest: Guest) -> None:
        """Add a VM; of two who want the same number, the second gets the ProxmoxError."""
        with self._guard:
            self.check_free(guest.vmid)
            self._guests[guest.vmid] = guest
            self.save(guest)

    def save(self, guest: Guest) -> None:
        """Write a VM's record; call it after every change."""
        with self._guard:
            if guest.vmid in self._guests:
                self._store.save(f"guests/{guest.vmid}", asdict(guest))

    def remove(self, vmid: int) -> None:
        """Forget a VM."""
        with self._guard:
            self._guests.pop(vmid, None)
            self._store.remove(f"guests/{vmid}")

    def next_free(self) -> int:
        """Return the lowest number from 100 on that is free; it is not reserved."""
        with self._guard:
            return next(vmid for vmid in range(100, 1_000_000_000) if vmid not in self._guests)
