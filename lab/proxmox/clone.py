"""Cloning a VM: what is refused at once, and what the task does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lab.proxmox import config_values
from lab.proxmox.access import Identity
from lab.proxmox.datacentre import Datacentre
from lab.proxmox.errors import ProxmoxError
from lab.proxmox.guests import Guest
from lab.proxmox.machines import MachineError
from lab.proxmox.tasks import Task

# Options of the source that its clone does not inherit.
_NOT_INHERITED = ("template", "lock", "parent", "name", "description", "vmgenid", "smbios1")


@dataclass(frozen=True)
class ClonePlan:
    """A clone that nothing speaks against yet."""

    source: Guest
    new_id: int
    name: str
    full: bool
    target: str
    pool: str | None
    storage: str | None
    description: str | None
    config: dict[str, str]


def plan(datacentre: Datacentre, who: Identity, source: Guest, args: dict[str, Any]) -> ClonePlan:
    """Check a clone call.

    Args:
        datacentre: all state.
        who: the caller, who needs the rights for storages and bridges of the copy.
        source: VM to be copied.
        args: checked parameters of the call.

    Raises:
        ProxmoxError: why it cannot be. ApiError: 403.
    """
    new_id = int(args["newid"])
    datacentre.guests.check_free(new_id)
    source.check_lock()
    full = bool(args.get("full", not source.is_template))
    if not full and not source.is_template:
        disk = next(
            (slot for slot, drive in config_values.drives(source.config).items() if not drive.is_cdrom), "scsi0"
        )
        raise ProxmoxError(f"Linked clone feature is not supported for drive '{disk}'")
    config = _source_config(source, args.get("snapname"))
    if not source.is_template and datacentre.running(source):
        raise ProxmoxError(f"VM {source.vmid} is running: this cluster copies stopped machines only")
    for name in ("storage", "format"):
        if not full and name in args:
            raise ProxmoxError(f"parameter '{name}' not allowed for linked clones")
    target = _target(datacentre, source, config, args.get("target"))
    if args.get("pool"):
        datacentre.pools.get(args["pool"])
    _check_rights(datacentre, who, config, args.get("storage"))
    name = args.get("name") or f"Copy-of-VM-{source.config.get('name', source.vmid)}"
    return ClonePlan(
        source, new_id, name, full, target, args.get("pool"), args.get("storage"), args.get("description"), config
    )


def _source_config(source: Guest, snapname: str | None) -> dict[str, str]:
    if snapname is None:
        return dict(source.config)
    if snapname not in source.snapshots:
        raise ProxmoxError(f"snapshot '{snapname}' does not exist")
    return dict(source.snapshots[snapname]["config"])


def _target(datacentre: Datacentre, source: Guest, config: dict[str, str], target: str | None) -> str:
    """Return the node for the copy; disks on local storages tie it to the source's node."""
    if target is None or target == source.node:
        return source.node
    datacentre.node(target)
    storages = {
        drive.storage for drive in config_values.drives(config).values() if drive.has_medium and not drive.is_cdrom
    }
    if any(not datacentre.volumes.storage(name).shared for name in storages):
        raise ProxmoxError(f"can't clone VM to node '{target}' (VM uses local storage)")
    return target


def _check_rights(datacentre: Datacentre, who: Identity, config: dict[str, str], storage: str | None) -> None:
    for drive in config_values.drives(config).values():
        if drive.has_medium and (not drive.is_cdrom or drive.is_cloudinit):
            datacentre.access.require(who, f"/storage/{storage or drive.storage}", "Datastore.AllocateSpace")
    for key, value in config.items():
        if key.startswith("net") and (bridge := config_values.card_bridge(value)):
            datacentre.access.require(who, f"/sdn/zones/localnetwork/{bridge}", "SDN.Use")


def run(datacentre: Datacentre, plan: ClonePlan, task: Task) -> None:
    """Do it: the work of a ``qmclone`` task. When it fails, nothing of the new VM is left.

    Raises:
        ProxmoxError: the reason.
    """
    limits = datacentre.settings.limits
    with datacentre.locks.guest(plan.source.vmid, limits.clone_lock_s, shared=True):
        # The new VM shows up locked, without a name and on the source's node, and gets those last.
        guest = Guest(plan.new_id, plan.source.node, {"lock": "clone"})
        datacentre.guests.add(guest)
        try:
            _copy(datacentre, plan, guest, task)
        except (ProxmoxError, MachineError) as err:
            _undo(datacentre, plan.new_id, task)
            raise ProxmoxError(f"clone failed: {err}") from err


def _undo(datacentre: Datacentre, vmid: int, task: Task) -> None:
    try:
        datacentre.machines.destroy(vmid)
    except MachineError as err:
        task.say(f"cannot remove the machine of VM {vmid}: {err}")
    datacentre.forget_guest(vmid)


def _copy(datacentre: Datacentre, plan: ClonePlan, guest: Guest, task: Task) -> None:
    config = {
        key: value for key, value in plan.config.items() if key not in _NOT_INHERITED and not key.startswith("unused")
    }
    for key in [key for key in config if key.startswith("net")]:
        config[key] = config_values.with_new_mac(config[key])
    _copy_machine(datacentre, plan, config, task)
    config |= {"name": plan.name, "smbios1": config_values.new_smbios(), "vmgenid": config_values.new_smbios()[5:]}
    if plan.description:
        config["description"] = plan.description
    guest.config = config
    datacentre.guests.save(guest)
    if plan.pool:
        datacentre.pools.add_guest(plan.pool, plan.new_id)
    guest.node = plan.target
    datacentre.guests.save(guest)


def _copy_machine(datacentre: Datacentre, plan: ClonePlan, config: dict[str, str], task: Task) -> None:
    """Allocate the disks under the storage's lock, then copy: a full copy goes on after the lock is given back."""
    durations = datacentre.settings.durations
    drives = {slot: drive for slot, drive in config_values.drives(config).items() if drive.has_medium}
    for slot, drive in drives.items():
        if drive.is_cdrom and not drive.is_cloudinit:
            continue
        storage = datacentre.volumes.storage(plan.storage or drive.storage)
        with datacentre.locks.storage(storage.name, storage.shared, datacentre.settings.limits.storage_lock_s):
            task.say(f"create {'full' if plan.full else 'linked'} clone of drive {slot} ({drive.volume})")
            if drive.is_cloudinit:
                volume = datacentre.volumes.allocate_cloudinit(storage.name, plan.new_id)
            else:
                base = None if plan.full else drive.volume
                volume = datacentre.volumes.allocate(storage.name, plan.new_id, drive.size_bytes, base)
                if not plan.full:
                    task.pace(durations.linked_clone_s)
        config[slot] = str(drive.replaced(volume=volume.volid))
    datacentre.machines.clone(plan.source.vmid, plan.new_id, plan.full)
    if plan.full:
        task.pace(durations.full_clone_s)
