"""All state of the emulated cluster in one place, and how it is brought up after a crash."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from lab.proxmox.access import Access
from lab.proxmox.agents import Agents
from lab.proxmox.errors import ApiError, ProxmoxError
from lab.proxmox.faults import Faults
from lab.proxmox.guests import Guest, Guests
from lab.proxmox.ha import HighAvailability
from lab.proxmox.locks import Locks
from lab.proxmox.machines import MachineError, Machines
from lab.proxmox.pools import Pools
from lab.proxmox.settings import Node, Settings
from lab.proxmox.statistics import Statistics
from lab.proxmox.store import Store, write_private
from lab.proxmox.tasks import Tasks
from lab.proxmox.tickets import Tickets
from lab.proxmox.volumes import Volumes

LOG = logging.getLogger(__name__)
# The release from which a refused ticket is not told apart from a refused token any more.
_ONE_REFUSAL_SINCE = (9, 1, 5)


class Datacentre:
    """The state behind the API.

    Args:
        directory: where all of it is kept, mode 0700.
        settings: nodes, storages, durations, limits.
        machines: what a VM really is.
        clock: returns the time in seconds since the epoch.
    """

    def __init__(
        self, directory: Path, settings: Settings, machines: Machines, clock: Callable[[], float] = time.time
    ) -> None:
        self.directory = directory
        self.settings = settings
        self.machines = machines
        self.clock = clock
        store = Store(directory)
        self.pools = Pools(store)
        self.access = Access(store, self.pools.of_path)
        self.tickets = Tickets(_secret(directory / "credentials" / "ticket.key"), settings.limits.ticket_s, clock)
        self.tasks = Tasks(store, clock)
        self.guests = Guests(store)
        self.faults = Faults(directory / "faults.json")
        self.volumes = Volumes(settings.storages, store, directory / "storage", clock, self._is_full)
        self.locks = Locks(settings.limits.storage_slots)
        self.ha = HighAvailability(store)
        self.agents = Agents(machines, settings.limits.agent_s)
        self.statistics = Statistics(settings.limits.statistics_s, clock)
        self.uploads = directory / "uploads"

    # -- nodes --------------------------------------------------------------------------------------------------------

    def node(self, name: str) -> Node:
        """Return a node; raises ProxmoxError for an unknown one."""
        for node in self.settings.nodes:
            if node.name == name:
                return node
        raise ProxmoxError(f"no such cluster node '{name}'")

    def is_online(self, name: str) -> bool:
        """Say whether a node answers; the rules of faults.json switch nodes off."""
        return name not in self.faults.offline_nodes

    def check_node(self, name: str) -> None:
        """Raise what the contacted node answers when it cannot pass a call on to node ``name``."""
        if all(node.name != name for node in self.settings.nodes):
            cause = f"failed to get address info for: {name}: Name or service not known"
            raise ApiError(500, f"hostname lookup '{name}' failed - {cause}")
        if not self.is_online(name):
            raise ApiError(595, "No route to host", with_body=False)

    def _is_full(self, storage: str) -> bool:
        return storage in self.faults.full_storages

    def unauthorized_text(self, before: str) -> str:
        """Return the text for a refused ticket or token; releases before 9.1.5 say ``before``."""
        release = tuple(int(part) for part in self.settings.version.split("."))
        return "Authentication failed!" if release >= _ONE_REFUSAL_SINCE else before

    # -- VMs ----------------------------------------------------------------------------------------------------------

    def running(self, guest: Guest) -> bool:
        """Say whether the machine of a VM is on."""
        return not guest.is_template and self.machines.running(guest.vmid)

    def cloudinit_iso(self, vmid: int) -> Path:
        """Return where the built cloud-init drive of a VM is kept."""
        return self.directory / "cloudinit" / f"vm-{vmid}-cloudinit.iso"

    def forget_guest(self, vmid: int, with_disks: bool = True) -> None:
        """Remove all that belongs to a VM except its machine: volumes, cloud-init drive, pool, configuration."""
        for volume in self.volumes.of_guest(vmid) if with_disks else ():
            self.volumes.remove(volume.volid)
        self.cloudinit_iso(vmid).unlink(missing_ok=True)
        self.pools.remove_guest(vmid)
        self.guests.remove(vmid)

    # -- start --------------------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Put right what a crash left: tasks that nobody runs any more, half-made VMs, locks, upload fragments."""
        self.tasks.fail_lost()
        for guest in self.guests.all():
            if guest.lock in ("clone", "create"):
                self._remove_half_made(guest)
            elif guest.lock:
                LOG.warning("VM %s was locked (%s) when the API ended: unlocked", guest.vmid, guest.lock)
                del guest.config["lock"]
                self.guests.save(guest)
        for path in self.uploads.glob("*"):
            path.unlink()

    def _remove_half_made(self, guest: Guest) -> None:
        """Remove a VM that a crash left half cloned; one whose machine cannot go stays locked until the next start."""
        try:
            self.machines.destroy(guest.vmid)
        except MachineError as err:
            LOG.warning("VM %s was half cloned when the API ended, and cannot be removed: %s", guest.vmid, err)
            return
        self.forget_guest(guest.vmid)
        LOG.warning("VM %s was half cloned when the API ended: removed", guest.vmid)


def _secret(path: Path) -> bytes:
    """Return the key in a file of mode 0600; made when it is missing."""
    if not path.exists():
        write_private(path, secrets.token_hex(32).encode())
    return path.read_bytes()
