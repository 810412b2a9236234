"""``qemu/{vmid}/resize`` and ``move_disk``."""

from __future__ import annotations

from lab.proxmox import config_values, relocation
from lab.proxmox.datacentre import Datacentre
from lab.proxmox.errors import ProxmoxError
from lab.proxmox.routing import Call, privilege, route
from lab.proxmox.schema import Boolean, Number, Text, matching
from lab.proxmox.tasks import Task


@route(
    "PUT",
    "/nodes/{node}/qemu/{vmid}/resize",
    privilege("/vms/{vmid}", "VM.Config.Disk"),
    {
        "disk": Text(required=True),
        "size": Text(required=True, rule=matching(r"\+?\d+(\.\d+)?[KMGT]?")),
        "digest": Text(),
    },
)
def resize(call: Call) -> str:
    """Grow a disk to a size (``20G``) or by one (``+5G``); a ``resize`` task."""
    centre, vmid, node = call.datacentre, call.vmid, call.node
    guest = centre.guests.get(vmid, node)
    guest.check_digest(call.args.get("digest"))
    disk, size = call.args["disk"], call.args["size"]
    return call.start("resize", vmid, lambda task: _resize(centre, vmid, node, disk, size, task))


def _resize(datacentre: Datacentre, vmid: int, node: str, disk: str, size: str, task: Task) -> None:
    with datacentre.locks.guest(vmid, datacentre.settings.limits.guest_lock_s):
        guest = datacentre.guests.get(vmid, node)
        guest.check_lock()
        if disk not in guest.config:
            raise ProxmoxError(f"disk '{disk}' does not exist")
        drive = config_values.parse_drive(guest.config[disk])
        if drive.is_cdrom:
            raise ProxmoxError("you can't resize a cdrom")
        wanted = config_values.parse_size(size.removeprefix("+")) + (drive.size_bytes if size.startswith("+") else 0)
        if wanted < drive.size_bytes:
            raise ProxmoxError("shrinking disks is not supported")
        if wanted > drive.size_bytes:
            task.pace(datacentre.settings.durations.resize_s)
            datacentre.volumes.resize(drive.volume, wanted)
            datacentre.machines.resize(vmid, disk, wanted)
            guest.config[disk] = str(drive.replaced(size=config_values.print_size(wanted)))
            datacentre.guests.save(guest)


@route(
    "POST",
    "/nodes/{node}/qemu/{vmid}/move_disk",
    privilege("/vms/{vmid}", "VM.Config.Disk"),
    {
        "disk": Text(required=True),
        "storage": Text(required=True),
        "format": Text(choices=("raw", "qcow2", "vmdk")),
        "delete": Boolean(default=False),
        "digest": Text(),
        "bwlimit": Number(),
    },
)
def move_disk(call: Call) -> str:
    """Move a disk to another storage; a ``qmmove`` task."""
    centre = call.datacentre
    call.require(f"/storage/{call.args['storage']}", "Datastore.AllocateSpace")
    guest = centre.guests.get(call.vmid, call.node)
    guest.check_digest(call.args.get("digest"))
    disk, storage, delete = call.args["disk"], call.args["storage"], call.args["delete"]
    centre.volumes.check_content(storage, "images")
    relocation.check_move(guest, disk, storage)
    return call.start(
        "qmmove", call.vmid, lambda task: relocation.move_disk(centre, guest, disk, storage, delete, task)
    )
