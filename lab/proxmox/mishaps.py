"""What happens to VMs behind the caller's back: somebody removes one, or takes a number that was thought free."""

from __future__ import annotations

from lab.proxmox import config_values
from lab.proxmox.datacentre import Datacentre
from lab.proxmox.faults import Effect
from lab.proxmox.guests import Guest
from lab.proxmox.routing import Call

_DISK_BYTES = 1024**3


def strike(call: Call, effect: Effect) -> None:
    """Bring about what a rule wants to happen before a call, or before its task.

    Raises:
        ProxmoxError: the VM that is to vanish is in use.
    """
    call.disks_left = effect.disks_left
    if effect.vanish and "vmid" in call.args:
        vanish(call.datacentre, call.vmid)
    if effect.number_taken == "call" and "newid" in call.args:
        settle(call.datacentre, int(call.args["newid"]), call.node)
    elif effect.number_taken == "task" and "newid" in call.args:
        call.before_task = lambda: settle(call.datacentre, int(call.args["newid"]), call.node)


def vanish(datacentre: Datacentre, vmid: int) -> None:
    """Remove a VM with its disks, on or off; templates stay, and one that is gone already is no error.

    Raises:
        ProxmoxError: it is in use until the time-out. MachineError: it cannot be removed.
    """
    with datacentre.locks.guest(vmid, datacentre.settings.limits.guest_lock_s):
        guest = datacentre.guests.find(vmid)
        if guest is None or guest.is_template:
            return
        datacentre.machines.stop(vmid, force=True)
        datacentre.machines.destroy(vmid)
        datacentre.forget_guest(vmid)


def settle(datacentre: Datacentre, vmid: int, node: str) -> None:
    """Add a stranger's VM with a disk, switched off; a number that is taken already stays whose it is."""
    if datacentre.guests.find(vmid) is not None:
        return
    storage = next(each.name for each in datacentre.settings.storages if "images" in each.content)
    # Locked while its disk is made, as a VM is that is created: until then nothing says whose the disk is.
    guest = Guest(vmid, node, {"name": f"stranger-{vmid}", "memory": "512", "lock": "create"})
    datacentre.guests.add(guest)
    disk = datacentre.volumes.add_disk(storage, vmid, _DISK_BYTES)
    guest.config = {key: value for key, value in guest.config.items() if key != "lock"}
    guest.config["scsi0"] = f"{disk.volid},size={config_values.print_size(_DISK_BYTES)}"
    datacentre.guests.save(guest)
