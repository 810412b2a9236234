"""``qemu/{vmid}/cloudinit``: what the cloud-init drive says, and rebuilding it."""

from __future__ import annotations

from typing import Any

from lab.proxmox import cloudinit, config_values, power
from lab.proxmox.errors import ProxmoxError
from lab.proxmox.guests import shown_value
from lab.proxmox.routing import Call, privilege, route
from lab.proxmox.schema import Text

_FILES = {"user": "user-data", "network": "network-config", "meta": "meta-data"}


@route("GET", "/nodes/{node}/qemu/{vmid}/cloudinit", privilege("/vms/{vmid}", "VM.Audit"))
def pending(call: Call) -> list[dict[str, Any]]:
    """Return each cloud-init option as on the drive, and what is new since the last start."""
    guest = call.datacentre.guests.get(call.vmid, call.node)
    wanted = cloudinit.seed_options(guest.config)
    built = guest.seed if call.datacentre.running(guest) else wanted
    rows = []
    for key in sorted({*wanted, *built}):
        row: dict[str, Any] = {"key": key} | ({"value": shown_value(key, built[key])} if key in built else {})
        if key not in wanted:
            row["delete"] = 1
        elif wanted[key] != built.get(key):
            row["pending"] = shown_value(key, wanted[key])
        rows.append(row)
    return rows


@route("PUT", "/nodes/{node}/qemu/{vmid}/cloudinit", privilege("/vms/{vmid}", "VM.Config.Cloudinit"))
def rebuild(call: Call) -> None:
    """Build the cloud-init drive anew from the present options."""
    guest = call.datacentre.guests.get(call.vmid, call.node)
    guest.check_lock()
    if any(drive.is_cloudinit for drive in config_values.drives(guest.config).values()):
        power.build_cloudinit_drive(call.datacentre, guest)
        guest.seed = cloudinit.seed_options(guest.config)
        call.datacentre.guests.save(guest)


@route(
    "GET",
    "/nodes/{node}/qemu/{vmid}/cloudinit/dump",
    privilege("/vms/{vmid}", "VM.Audit"),
    {"type": Text(required=True, choices=tuple(_FILES))},
)
def dump(call: Call) -> str:
    """Return one of the files as Proxmox would build it; ``cicustom`` is ignored."""
    guest = call.datacentre.guests.get(call.vmid, call.node)
    if not any(drive.is_cloudinit for drive in config_values.drives(guest.config).values()):
        raise ProxmoxError("no cloudinit drive found")
    return cloudinit.documents(guest.config, guest.vmid)[_FILES[call.args["type"]]]
