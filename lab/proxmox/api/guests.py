"""``/nodes/{node}/qemu``: the list of VMs, clone, template, migrate, delete."""

from __future__ import annotations

from typing import Any

from lab.proxmox import clone as cloning
from lab.proxmox import power, relocation
from lab.proxmox.errors import ProxmoxError
from lab.proxmox.routing import Call, either, privilege, route, together
from lab.proxmox.schema import POOL, Boolean, Integer, Number, Text, dns_name
from lab.proxmox.summaries import guest_summary


@route("GET", "/nodes/{node}/qemu", parameters={"full": Boolean()})
def guests(call: Call) -> list[dict[str, Any]]:
    """Return the VMs of a node that the caller may see."""
    return [
        guest_summary(call.datacentre, guest)
        for guest in call.datacentre.guests.all()
        if guest.node == call.node and call.may(f"/vms/{guest.vmid}", "VM.Audit")
    ]


@route("GET", "/nodes/{node}/qemu/{vmid}")
def index(_call: Call) -> list[dict[str, str]]:
    """Return the parts of a VM's branch of the API."""
    return [{"subdir": name} for name in ("agent", "cloudinit", "config", "firewall", "pending", "snapshot", "status")]


@route(
    "POST",
    "/nodes/{node}/qemu/{vmid}/clone",
    together(
        privilege("/vms/{vmid}", "VM.Clone"),
        either(("/vms/{newid}", "VM.Allocate"), ("/pool/{pool}", "VM.Allocate")),
    ),
    {
        "newid": Integer(required=True, least=100, most=999999999),
        "name": Text(rule=dns_name),
        "description": Text(),
        "full": Boolean(),
        "target": Text(),
        "pool": POOL,
        "storage": Text(),
        "format": Text(choices=("raw", "qcow2", "vmdk")),
        "snapname": Text(),
        "bwlimit": Number(),
    },
)
def clone(call: Call) -> str:
    """Copy a VM; a ``qmclone`` task of the source."""
    centre = call.datacentre
    plan = cloning.plan(centre, call.who, centre.guests.get_for_action(call.vmid, call.node), call.args)
    return call.start("qmclone", call.vmid, lambda task: cloning.run(centre, plan, task))


@route("POST", "/nodes/{node}/qemu/{vmid}/template", privilege("/vms/{vmid}", "VM.Allocate"), {"disk": Text()})
def template(call: Call) -> str:
    """Make a template of a VM; a ``qmtemplate`` task."""
    centre = call.datacentre
    guest = centre.guests.get(call.vmid, call.node)
    guest.check_lock()
    if guest.is_template:
        raise ProxmoxError("you can't convert a template to a template")
    if guest.snapshots:
        raise ProxmoxError("unable to create template, because VM contains snapshots")
    if centre.running(guest):
        raise ProxmoxError("you can't convert a VM to template if VM is running")
    return call.start("qmtemplate", call.vmid, lambda task: relocation.to_template(centre, guest, task))


@route(
    "POST",
    "/nodes/{node}/qemu/{vmid}/migrate",
    privilege("/vms/{vmid}", "VM.Migrate"),
    {
        "target": Text(required=True),
        "online": Boolean(default=False),
        "with-local-disks": Boolean(default=False),
        "targetstorage": Text(),
        "force": Boolean(),
        "bwlimit": Integer(least=0),
        "migration_type": Text(choices=("secure", "insecure")),
        "migration_network": Text(),
    },
)
def migrate(call: Call) -> str:
    """Move a VM to another node; a ``qmmigrate`` task."""
    centre = call.datacentre
    guest = centre.guests.get(call.vmid, call.node)
    relocation.check_migration(centre, guest, call.args["target"], call.args["online"])
    options = (call.args["target"], call.args["with-local-disks"])
    return call.start("qmmigrate", call.vmid, lambda task: relocation.migrate(centre, guest, *options, task))


@route(
    "DELETE",
    "/nodes/{node}/qemu/{vmid}",
    privilege("/vms/{vmid}", "VM.Allocate"),
    {"purge": Boolean(default=False), "destroy-unreferenced-disks": Boolean(), "skiplock": Boolean()},
)
def destroy(call: Call) -> str:
    """Remove a VM with its disks; a ``qmdestroy`` task."""
    centre, vmid, node, purge = call.datacentre, call.vmid, call.node, call.args["purge"]
    skip_lock = call.skips_lock()
    guest = centre.guests.get(vmid, node)
    if guest.config.get("protection") == "1":
        raise ProxmoxError(f"can't remove VM {vmid} - protection mode enabled")
    if centre.ha.is_managed(vmid) and not purge:
        raise ProxmoxError(f"unable to remove VM {vmid} - used in HA resources and purge parameter not set.")
    if centre.running(guest):
        raise ProxmoxError(f"VM {vmid} is running - destroy failed")
    left = call.disks_left
    return call.start("qmdestroy", vmid, lambda task: power.destroy(centre, vmid, node, purge, task, skip_lock, left))
