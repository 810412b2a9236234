"""Turning a VM into a template, and moving it or its disks."""

from __future__ import annotations

from lab.proxmox import config_values
from lab.proxmox.datacentre import Datacentre
from lab.proxmox.errors import ProxmoxError, invalid
from lab.proxmox.guests import Guest
from lab.proxmox.tasks import Task


def to_template(datacentre: Datacentre, guest: Guest, task: Task) -> None:
    """Make a template of a stopped VM (``qmtemplate``): its disks become ``base-*``."""
    with datacentre.locks.guest(guest.vmid, datacentre.settings.limits.guest_lock_s):
        task.pace(datacentre.settings.durations.other_s)
        for slot, drive in config_values.drives(guest.config).items():
            if drive.has_medium and not drive.is_cdrom:
                guest.config[slot] = str(drive.replaced(volume=datacentre.volumes.to_base(drive.volume)))
        guest.config["template"] = "1"
        datacentre.guests.save(guest)


def local_disks(datacentre: Datacentre, guest: Guest) -> list[str]:
    """Return the volumes of a VM that are on storages of one node only."""
    return [
        drive.volume
        for drive in config_values.drives(guest.config).values()
        if drive.has_medium and not datacentre.volumes.storage(drive.storage).shared
    ]


def check_migration(datacentre: Datacentre, guest: Guest, target: str, online: bool) -> None:
    """Raise ProxmoxError or the 400 when a VM cannot be moved to ``target``."""
    datacentre.node(target)
    if target == guest.node:
        raise invalid(target="target is local node.")
    guest.check_lock()
    if not datacentre.is_online(target):
        raise ProxmoxError(f"target node '{target}' is not online")
    if datacentre.running(guest) and not online:
        raise ProxmoxError("can't migrate running VM without --online")


def migrate(datacentre: Datacentre, guest: Guest, target: str, with_local_disks: bool, task: Task) -> None:
    """Move a VM (``qmmigrate``); the machine itself stays where it is, since all nodes share it.

    Raises:
        ProxmoxError: it runs, and has local disks that may not be copied.
    """
    with datacentre.locks.guest(guest.vmid, datacentre.settings.limits.guest_lock_s):
        if datacentre.running(guest) and local_disks(datacentre, guest) and not with_local_disks:
            task.say("can't live migrate attached local disks without with-local-disks option")
            raise ProxmoxError("migration aborted")
        task.pace(datacentre.settings.durations.other_s)
        guest.node = target
        datacentre.guests.save(guest)


def check_move(guest: Guest, disk: str, storage: str) -> config_values.Drive:
    """Return the drive to be moved; raises ProxmoxError when it cannot be."""
    guest.check_lock()
    if disk not in guest.config:
        raise ProxmoxError(f"disk '{disk}' does not exist")
    drive = config_values.parse_drive(guest.config[disk])
    if drive.is_cdrom:
        raise ProxmoxError("you can't move a cdrom")
    if drive.storage == storage:
        raise ProxmoxError("you can't move to the same storage with same format")
    return drive


def move_disk(datacentre: Datacentre, guest: Guest, disk: str, storage: str, delete: bool, task: Task) -> None:
    """Move a disk to another storage (``qmmove``); the source stays as ``unusedN`` unless ``delete``."""
    with datacentre.locks.guest(guest.vmid, datacentre.settings.limits.guest_lock_s):
        drive = check_move(guest, disk, storage)
        shared = datacentre.volumes.storage(storage).shared
        with datacentre.locks.storage(storage, shared, datacentre.settings.limits.storage_lock_s):
            volume = datacentre.volumes.move(drive.volume, storage, keep=not delete)
        task.pace(datacentre.settings.durations.full_clone_s)
        if not delete:
            slot = next(f"unused{number}" for number in range(256) if f"unused{number}" not in guest.config)
            guest.config[slot] = drive.volume
        guest.config[disk] = str(drive.replaced(volume=volume))
        datacentre.guests.save(guest)
