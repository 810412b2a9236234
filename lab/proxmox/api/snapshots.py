"""``qemu/{vmid}/snapshot``: snapshots of the configuration; what is on the disks is not kept here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lab.proxmox.errors import ProxmoxError
from lab.proxmox.guests import Guest, shown
from lab.proxmox.routing import Call, Need, privilege, route
from lab.proxmox.schema import Boolean, Text, matching
from lab.proxmox.tasks import Task

_NAME = Text(required=True, rule=matching(r"[a-zA-Z][a-zA-Z0-9_-]{1,39}", "invalid format - invalid configuration ID"))
_SNAPSHOT: Need = privilege("/vms/{vmid}", "VM.Snapshot")
_READ: Need = privilege("/vms/{vmid}", "VM.Audit", "VM.Snapshot", any_of=True)


@route("GET", "/nodes/{node}/qemu/{vmid}/snapshot", _READ)
def snapshots(call: Call) -> list[dict[str, Any]]:
    """Return the snapshots, and the present state as ``current``."""
    guest = call.datacentre.guests.get(call.vmid, call.node)
    rows = [
        {"name": name, "snaptime": row["snaptime"], "description": row["description"], "vmstate": 0}
        | ({"parent": row["parent"]} if row["parent"] else {})
        for name, row in sorted(guest.snapshots.items(), key=lambda item: float(item[1]["snaptime"]))
    ]
    present: dict[str, Any] = {"name": "current", "digest": guest.digest, "description": "You are here!"}
    present["running"] = int(call.datacentre.running(guest))
    return [*rows, present | ({"parent": guest.parent} if guest.parent else {})]


def _snapshot(guest: Guest, name: str) -> dict[str, Any]:
    if name not in guest.snapshots:
        raise ProxmoxError(f"snapshot '{name}' does not exist")
    return guest.snapshots[name]


@route("GET", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/config", _READ)
def config(call: Call) -> dict[str, Any]:
    """Return the configuration in a snapshot."""
    guest = call.datacentre.guests.get(call.vmid, call.node)
    return shown(_snapshot(guest, call.args["snapname"])["config"])


def _locked(call: Call, kind: str, work: Callable[[Guest, Task], None]) -> str:
    """Start a task that works on the VM with its lock held."""
    centre, vmid, node = call.datacentre, call.vmid, call.node
    centre.guests.get(vmid, node)

    def run(task: Task) -> None:
        with centre.locks.guest(vmid, centre.settings.limits.guest_lock_s):
            guest = centre.guests.get(vmid, node)
            guest.check_lock()
            task.pace(centre.settings.durations.other_s)
            work(guest, task)
            centre.guests.save(guest)

    return call.start(kind, vmid, run)


@route(
    "POST",
    "/nodes/{node}/qemu/{vmid}/snapshot",
    _SNAPSHOT,
    {"snapname": _NAME, "description": Text(default=""), "vmstate": Boolean()},
)
def add(call: Call) -> str:
    """Take a snapshot; a ``qmsnapshot`` task."""
    name, description, taken_at = call.args["snapname"], call.args["description"], int(call.datacentre.clock())

    def work(guest: Guest, task: Task) -> None:
        if name in guest.snapshots:
            raise ProxmoxError(f"snapshot name '{name}' already used")
        task.warn("the disks' content is not part of snapshots here")
        kept = {"config": dict(guest.config), "snaptime": taken_at, "description": description, "parent": guest.parent}
        guest.snapshots[name] = kept
        guest.parent = name

    return _locked(call, "qmsnapshot", work)


@route(
    "POST",
    "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/rollback",
    privilege("/vms/{vmid}", "VM.Snapshot", "VM.Snapshot.Rollback", any_of=True),
    {"start": Boolean()},
)
def roll_back(call: Call) -> str:
    """Go back to the configuration of a snapshot; a ``qmrollback`` task."""
    name = call.args["snapname"]
    centre = call.datacentre

    def work(guest: Guest, task: Task) -> None:
        kept = _snapshot(guest, name)
        if centre.running(guest):
            centre.machines.stop(guest.vmid, force=True)
        task.warn("the disks' content is not rolled back here")
        guest.config, guest.pending, guest.parent = dict(kept["config"]), {}, name

    return _locked(call, "qmrollback", work)


@route("DELETE", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}", _SNAPSHOT, {"force": Boolean()})
def remove(call: Call) -> str:
    """Remove a snapshot; a ``qmdelsnapshot`` task."""
    name = call.args["snapname"]

    def work(guest: Guest, _task: Task) -> None:
        parent = _snapshot(guest, name)["parent"]
        del guest.snapshots[name]
        for row in guest.snapshots.values():
            row["parent"] = parent if row["parent"] == name else row["parent"]
        guest.parent = parent if guest.parent == name else guest.parent

    return _locked(call, "qmdelsnapshot", work)
