"""``qemu/{vmid}/status``: how a VM stands, and switching it on and off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from lab.proxmox import high_availability, power
from lab.proxmox.datacentre import Datacentre
from lab.proxmox.errors import ProxmoxError
from lab.proxmox.routing import Call, Need, privilege, route
from lab.proxmox.schema import Boolean, Integer, Kind, Text
from lab.proxmox.summaries import guest_summary
from lab.proxmox.tasks import Task

Verb = Literal["start", "stop"]

_POWER: Need = privilege("/vms/{vmid}", "VM.PowerMgmt")
_TIMEOUT: dict[str, Kind] = {"timeout": Integer(least=0)}
_SKIPLOCK: dict[str, Kind] = {"skiplock": Boolean()}


@route("GET", "/nodes/{node}/qemu/{vmid}/status/current", privilege("/vms/{vmid}", "VM.Audit"))
def current(call: Call) -> dict[str, Any]:
    """Return how a VM stands; ``template``, ``pid``, ``lock``, ``tags``, ``agent`` are there only where true."""
    centre = call.datacentre
    guest = centre.guests.get(call.vmid, call.node)
    row = guest_summary(centre, guest)
    managed = centre.ha.is_managed(guest.vmid)
    row["ha"] = {"managed": int(managed)} | ({"state": centre.ha.get(f"vm:{guest.vmid}")["state"]} if managed else {})
    row["qmpstatus"] = row["status"]
    return row | ({"agent": 1} if guest.agent_enabled else {})


@route("GET", "/nodes/{node}/qemu/{vmid}/status")
def index(_call: Call) -> list[dict[str, str]]:
    """Return the parts of this branch."""
    return [{"subdir": name} for name in ("current", "start", "stop", "shutdown", "reboot", "reset")]


@route(
    "POST",
    "/nodes/{node}/qemu/{vmid}/status/start",
    _POWER,
    _TIMEOUT
    | _SKIPLOCK
    | {"machine": Text(), "migratedfrom": Text(), "stateuri": Text(), "force-cpu": Text(), "targetstorage": Text()},
)
def start(call: Call) -> str:
    """Switch a VM on: ``qmstart``, or a request to the HA manager (``hastart``) for a VM that it manages."""
    return _switch(call, "start", power.start)


@route(
    "POST",
    "/nodes/{node}/qemu/{vmid}/status/stop",
    _POWER,
    _TIMEOUT | _SKIPLOCK | {"keepActive": Boolean(), "overrule-shutdown": Boolean()},
)
def stop(call: Call) -> str:
    """Pull the plug: ``qmstop``, or ``hastop`` for a VM that the HA manager looks after."""
    return _switch(call, "stop", power.stop)


def _switch(call: Call, verb: Verb, act: Callable[[Datacentre, int, str, Task, bool], None]) -> str:
    """Start the task that switches a VM, or the one that asks the HA manager of the VM to."""
    centre, vmid, node = call.datacentre, call.vmid, call.node
    skip_lock = call.skips_lock()
    if centre.ha.is_managed(vmid):
        return _request(call, verb)
    return call.start(f"qm{verb}", vmid, lambda task: act(centre, vmid, node, task, skip_lock))


def _request(call: Call, verb: Verb) -> str:
    """Start the task that tells the HA manager which state is wanted."""
    centre, vmid = call.datacentre, call.vmid
    wanted = {"start": "started", "stop": "stopped"}[verb]
    return call.start(f"ha{verb}", vmid, lambda task: high_availability.request(centre, vmid, wanted, task))


@route(
    "POST",
    "/nodes/{node}/qemu/{vmid}/status/shutdown",
    _POWER,
    _TIMEOUT | {"forceStop": Boolean(default=False), "keepActive": Boolean()},
)
def shutdown(call: Call) -> str:
    """Ask the VM to shut down: ``qmshutdown``."""
    centre, vmid, node, force = call.datacentre, call.vmid, call.node, call.args["forceStop"]
    if centre.ha.is_managed(vmid):
        return _request(call, "stop")
    timeout_s = call.args.get("timeout", centre.settings.limits.shutdown_s)
    return call.start("qmshutdown", vmid, lambda task: power.shutdown(centre, vmid, node, timeout_s, force, task))


def _check_running(call: Call) -> None:
    """Raise ProxmoxError unless the VM of the call is on."""
    guest = call.datacentre.guests.get_for_action(call.vmid, call.node)
    if not call.datacentre.running(guest):
        raise ProxmoxError(f"VM {call.vmid} not running")


@route("POST", "/nodes/{node}/qemu/{vmid}/status/reboot", _POWER, {"timeout": Integer(least=0)})
def reboot(call: Call) -> str:
    """Shut down and start again: ``qmreboot``; pending values become true."""
    _check_running(call)
    centre, vmid, node = call.datacentre, call.vmid, call.node
    timeout_s = call.args.get("timeout", centre.settings.limits.shutdown_s)
    return call.start("qmreboot", vmid, lambda task: power.reboot(centre, vmid, node, timeout_s, task))


@route("POST", "/nodes/{node}/qemu/{vmid}/status/reset", _POWER, _SKIPLOCK)
def reset(call: Call) -> str:
    """Press the reset button: ``qmreset``."""
    _check_running(call)
    centre, vmid, node = call.datacentre, call.vmid, call.node
    skip_lock = call.skips_lock()
    return call.start("qmreset", vmid, lambda task: power.reset(centre, vmid, node, task, skip_lock))
