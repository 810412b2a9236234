"""Changing the configuration of a VM: POST (a task) and PUT (at once) of ``qemu/{vmid}/config``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from lab.proxmox import config_values
from lab.proxmox.access import ROOT, Identity
from lab.proxmox.config_schema import OPTIONS, is_drive, is_root_only, privileges, takes_effect_at_once
from lab.proxmox.config_values import Drive
from lab.proxmox.datacentre import Datacentre
from lab.proxmox.errors import ApiError, ProxmoxError, invalid
from lab.proxmox.guests import Guest
from lab.proxmox.schema import Boolean
from lab.proxmox.settings import GIB


@dataclass(frozen=True)
class Change:
    """A change that the caller may make: new values as kept, options to delete, pending values to take back."""

    values: dict[str, str]
    delete: tuple[str, ...]
    revert: tuple[str, ...]


def requested(args: dict[str, object]) -> Change:
    """Return the change that the checked parameters of a call ask for.

    Raises:
        ApiError: 400 for an unknown option to delete, or one that is set and deleted.
    """
    values = {key: kept(key, value) for key, value in args.items() if key in OPTIONS}
    delete, revert = (
        tuple(re.split(r"[,;\s]+", str(args[key]))) if args.get(key) else () for key in ("delete", "revert")
    )
    for name, options in (("delete", delete), ("revert", revert)):
        for option in options:
            if option not in OPTIONS:
                raise ApiError(400, "Parameter verification failed.", errors={name: f"unknown option '{option}'"})
            if option in values:
                raise invalid(**{name: f"you can't use '-{option}' and -{name} {option}' at the same time"})
    return Change(values, delete, revert)


def kept(option: str, value: object) -> str:
    """Return a checked value as the configuration keeps it: all is text there."""
    if isinstance(OPTIONS[option], Boolean):
        return str(int(bool(value)))
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return text.removeprefix("current=") if option == "memory" else text


def check_rights(datacentre: Datacentre, who: Identity, guest: Guest, change: Change) -> None:
    """Raise the 403 unless the caller may change every option, and use the storages and bridges in the new values."""
    touched = change.values | {option: guest.merged.get(option, "") for option in (*change.delete, *change.revert)}
    for option, value in touched.items():
        if is_root_only(option) and who.user != ROOT:
            raise ProxmoxError(f"only root can set '{option}' config")
        datacentre.access.require(who, f"/vms/{guest.vmid}", *privileges(option, value or None), any_of=True)
    for option, value in change.values.items():
        if is_drive(option):
            _check_storage_rights(datacentre, who, config_values.parse_drive(value))
        elif re.fullmatch(r"net\d+", option) and (bridge := config_values.card_bridge(value)):
            datacentre.access.require(who, f"/sdn/zones/localnetwork/{bridge}", "SDN.Use")


def _check_storage_rights(datacentre: Datacentre, who: Identity, drive: Drive) -> None:
    if not drive.has_medium:
        return
    path = f"/storage/{drive.storage}"
    if datacentre.volumes.file(drive.volume) is not None:
        datacentre.access.require(who, path, "Datastore.AllocateSpace", "Datastore.Audit", any_of=True)
    else:
        datacentre.access.require(who, path, "Datastore.AllocateSpace")


def apply(datacentre: Datacentre, guest: Guest, change: Change, say: Callable[[str], None]) -> None:
    """Carry a change out: what a running machine cannot take waits as pending.

    Args:
        datacentre: all state.
        guest: the VM; its lock is held by the caller.
        change: what to do.
        say: takes lines for the task's log.

    Raises:
        ProxmoxError: a volume, storage or boot device that does not exist; nothing of the change is kept then.
    """
    say(f"update VM {guest.vmid}: {' '.join(_words(change))}")
    new = Guest(guest.vmid, guest.node, dict(guest.config), dict(guest.pending))
    running = datacentre.running(guest)
    for option in change.revert:
        new.pending.pop(option, None)
    for option in change.delete:
        _delete(datacentre, new, option, running)
    boot_order = list(config_values.boot_devices(new.merged.get("boot", "")))
    for option, value in change.values.items():
        if is_drive(option):
            value = _drive_value(datacentre, guest.vmid, option, config_values.parse_drive(value))
            if _is_added_cdrom(new, option, value) and boot_order and "boot" not in change.values:
                boot_order.append(option)
                new.config["boot"] = f"order={';'.join(boot_order)}"
        _set(new, option, value, running)
    _check_boot(new, change)
    guest.config, guest.pending = new.config, new.pending
    datacentre.guests.save(guest)


def _words(change: Change) -> list[str]:
    """Return the change as the options of ``qm set``, the password hidden."""
    shown = {key: "<hidden>" if key == "cipassword" else value for key, value in change.values.items()}
    words = [f"-{key} {value}" for key, value in sorted(shown.items())]
    return words + ([f"-delete {','.join(change.delete)}"] if change.delete else [])


def _set(guest: Guest, option: str, value: str, running: bool) -> None:
    guest.pending.pop(option, None)
    if guest.config.get(option) == value:
        return
    if running and not _at_once(guest, option, value):
        guest.pending[option] = value
    else:
        guest.config[option] = value


def _at_once(guest: Guest, option: str, value: str) -> bool:
    """Say whether a running machine takes a value: a medium can be changed, SCSI disks and USB come and go."""
    if not is_drive(option):
        return takes_effect_at_once(option)
    old = guest.config.get(option)
    both_cdrom = (
        old is not None and config_values.parse_drive(old).is_cdrom and config_values.parse_drive(value).is_cdrom
    )
    return both_cdrom or option.startswith(("scsi", "virtio"))


def _delete(datacentre: Datacentre, guest: Guest, option: str, running: bool) -> None:
    guest.pending.pop(option, None)
    if option not in guest.config:
        return
    at_once = option.startswith(("scsi", "virtio")) if is_drive(option) else takes_effect_at_once(option)
    if running and not at_once:
        guest.pending[option] = None
        return
    value = guest.config.pop(option)
    if option.startswith("unused"):
        datacentre.volumes.remove(config_values.parse_drive(value).volume)
    elif is_drive(option):
        _detach(datacentre, guest, config_values.parse_drive(value))


def _detach(datacentre: Datacentre, guest: Guest, drive: Drive) -> None:
    """Let go of a removed drive: a disk stays as ``unusedN``, the cloud-init drive goes."""
    if drive.is_cloudinit:
        datacentre.volumes.remove(drive.volume)
        datacentre.cloudinit_iso(guest.vmid).unlink(missing_ok=True)
    elif drive.has_medium and not drive.is_cdrom:
        slot = next(f"unused{number}" for number in range(256) if f"unused{number}" not in guest.config)
        guest.config[slot] = drive.volume


def _drive_value(datacentre: Datacentre, vmid: int, option: str, drive: Drive) -> str:
    """Return the value to keep: volumes are allocated, sizes filled in."""
    if not drive.has_medium:
        return str(drive)
    if drive.volume == f"{drive.storage}:cloudinit":
        volume = datacentre.volumes.allocate_cloudinit(drive.storage, vmid)
        return str(drive.replaced(volume=volume.volid, size=config_values.print_size(volume.size)))
    if match := re.fullmatch(r"[^:]+:(\d+(?:\.\d+)?)", drive.volume):
        if "import-from" in drive.options:
            raise ProxmoxError(
                f"{option}: importing from '{drive.options['import-from']}' failed: no images can be read here"
            )
        volume = datacentre.volumes.allocate(drive.storage, vmid, int(float(match[1]) * GIB))
        return str(drive.replaced(volume=volume.volid, size=config_values.print_size(volume.size)))
    volume = datacentre.volumes.get(drive.volume)
    if volume.content == "iso" and not drive.is_cdrom:
        raise ProxmoxError(f"{option}: unable to use '{drive.volume}' as a disk - it needs media=cdrom")
    if volume.vmid not in (None, vmid):
        raise ProxmoxError(f"{option}: volume '{drive.volume}' is owned by VM {volume.vmid}")
    return str(drive.replaced(size=config_values.print_size(volume.size)))


def _is_added_cdrom(guest: Guest, option: str, value: str) -> bool:
    drive = config_values.parse_drive(value)
    return option not in guest.merged and drive.is_cdrom and not drive.is_cloudinit


def _check_boot(guest: Guest, change: Change) -> None:
    for device in config_values.boot_devices(change.values.get("boot", "")):
        if device not in guest.merged:
            raise ProxmoxError(f"invalid bootorder: device '{device}' does not exist'")
