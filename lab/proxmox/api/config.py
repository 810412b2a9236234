"""``qemu/{vmid}/config`` and ``pending``."""

from __future__ import annotations

from typing import Any

from lab.proxmox import config_update
from lab.proxmox.config_schema import OPTIONS
from lab.proxmox.errors import ProxmoxError
from lab.proxmox.guests import Guest, shown, shown_value
from lab.proxmox.locks import SharedLock
from lab.proxmox.routing import Call, Need, privilege, route
from lab.proxmox.schema import Boolean, Integer, Kind, Text
from lab.proxmox.tasks import Task

# Whoever may change anything gets past the first check; each option is checked once the options are known.
_ANY_OPTION: Need = privilege(
    "/vms/{vmid}",
    *(f"VM.Config.{part}" for part in ["Disk", "CDROM", "CPU", "Memory", "Network", "HWType", "Options", "Cloudinit"]),
    any_of=True,
)
_CHANGE: dict[str, Kind] = OPTIONS | {
    "delete": Text(),
    "revert": Text(),
    "digest": Text(),
    "force": Boolean(),
    "skiplock": Boolean(),
}


@route(
    "GET",
    "/nodes/{node}/qemu/{vmid}/config",
    privilege("/vms/{vmid}", "VM.Audit"),
    {"current": Boolean(default=False), "snapshot": Text()},
)
def read(call: Call) -> dict[str, Any]:
    """Return the configuration as it will be after stop and start, or with ``current`` as it is, or a snapshot's."""
    guest = call.datacentre.guests.get(call.vmid, call.node)
    config = guest.config if call.args["current"] else guest.merged
    if "snapshot" in call.args:
        if call.args["snapshot"] not in guest.snapshots:
            raise ProxmoxError(f"snapshot '{call.args['snapshot']}' does not exist")
        config = guest.snapshots[call.args["snapshot"]]["config"]
    return shown(config) | {"digest": guest.digest}


@route("GET", "/nodes/{node}/qemu/{vmid}/pending", privilege("/vms/{vmid}", "VM.Audit"))
def pending(call: Call) -> list[dict[str, Any]]:
    """Return each option with its value, and what waits for stop and start."""
    guest = call.datacentre.guests.get(call.vmid, call.node)
    rows = []
    for key in sorted({*guest.config, *guest.pending}):
        row: dict[str, Any] = {"key": key}
        if key in guest.config:
            row["value"] = shown_value(key, guest.config[key])
        if key in guest.pending:
            waiting = guest.pending[key]
            row |= {"delete": 1} if waiting is None else {"pending": shown_value(key, waiting)}
        rows.append(row)
    return [*rows, {"key": "digest", "value": guest.digest}]


def _prepared(call: Call) -> tuple[Guest, config_update.Change, SharedLock]:
    """Do all checks of a change and return it with the held lock of the VM.

    The lock is taken here and given back by whoever carries the change out, so that changes queue per VM.
    """
    centre = call.datacentre
    change, skip_lock = config_update.requested(call.args), call.skips_lock()
    guest = centre.guests.get(call.vmid, call.node)
    config_update.check_rights(centre, call.who, guest, change)
    if not any(change.__dict__.values()):
        raise ProxmoxError("no options specified")
    lock = centre.locks.acquire_guest(guest.vmid, centre.settings.limits.guest_lock_s)
    try:
        guest = centre.guests.get(call.vmid, call.node)
        guest.check_digest(call.args.get("digest"))
        if not skip_lock:
            guest.check_lock()
    except ProxmoxError:
        lock.release()
        raise
    return guest, change, lock


@route("PUT", "/nodes/{node}/qemu/{vmid}/config", _ANY_OPTION, _CHANGE)
def change_now(call: Call) -> None:
    """Change options and return when it is done."""
    guest, change, lock = _prepared(call)
    try:
        config_update.apply(call.datacentre, guest, change, lambda _line: None)
    finally:
        lock.release()


@route(
    "POST",
    "/nodes/{node}/qemu/{vmid}/config",
    _ANY_OPTION,
    _CHANGE | {"background_delay": Integer(least=1, most=30), "import-working-storage": Text()},
)
def change_in_background(call: Call) -> str | None:
    """Change options in a ``qmconfig`` task; nothing is returned when it ends well within ``background_delay`` s."""
    guest, change, lock = _prepared(call)

    def work(task: Task) -> None:
        task.pace(call.datacentre.settings.durations.config_s)
        config_update.apply(call.datacentre, guest, change, task.say)

    upid = call.start("qmconfig", call.vmid, work, afterwards=lock.release)
    if "background_delay" not in call.args:
        return upid
    task = call.datacentre.tasks.get(upid)
    if not task.ended.wait(call.args["background_delay"]):
        return upid
    if task.failed:
        raise ProxmoxError(str(task.exitstatus))
    return None
