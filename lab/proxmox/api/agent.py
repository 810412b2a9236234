"""``qemu/{vmid}/agent``: the guest agent."""

from __future__ import annotations

from typing import Any

from lab.proxmox.errors import ProxmoxError
from lab.proxmox.routing import Call, Need, privilege, route
from lab.proxmox.schema import Integer, Many, Text

_AUDIT: Need = privilege("/vms/{vmid}", "VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted", any_of=True)
_COMMAND: Need = privilege("/vms/{vmid}", "VM.GuestAgent.Unrestricted")


def _check_agent(call: Call) -> None:
    """Raise ProxmoxError unless the VM has an agent and is on."""
    guest = call.datacentre.guests.get(call.vmid, call.node)
    if not guest.agent_enabled:
        raise ProxmoxError("No QEMU guest agent configured")
    if not call.datacentre.running(guest):
        raise ProxmoxError(f"VM {call.vmid} is not running")


@route("POST", "/nodes/{node}/qemu/{vmid}/agent/ping", _AUDIT)
def ping(call: Call) -> dict[str, Any]:
    """Answer when something inside the machine does."""
    _check_agent(call)
    call.datacentre.agents.output(call.vmid, "true")
    return {"result": {}}


@route("GET", "/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces", _AUDIT)
def interfaces(call: Call) -> dict[str, Any]:
    """Return the network interfaces as the machine sees them."""
    _check_agent(call)
    return {"result": call.datacentre.agents.interfaces(call.vmid)}


@route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-osinfo", _AUDIT)
def os_info(call: Call) -> dict[str, Any]:
    """Return the operating system of the machine."""
    _check_agent(call)
    return {"result": call.datacentre.agents.os_info(call.vmid)}


@route("GET", "/nodes/{node}/qemu/{vmid}/agent/get-host-name", _AUDIT)
def host_name(call: Call) -> dict[str, Any]:
    """Return the host name of the machine."""
    _check_agent(call)
    return {"result": {"host-name": call.datacentre.agents.output(call.vmid, "hostname").strip()}}


@route(
    "POST",
    "/nodes/{node}/qemu/{vmid}/agent/exec",
    _COMMAND,
    {"command": Many(required=True), "input-data": Text(default="")},
)
def execute(call: Call) -> dict[str, int]:
    """Start a command inside the machine."""
    _check_agent(call)
    stdin = str(call.args["input-data"]).encode()
    return {"pid": call.datacentre.agents.start(call.vmid, call.args["command"], stdin)}


@route("GET", "/nodes/{node}/qemu/{vmid}/agent/exec-status", _COMMAND, {"pid": Integer(required=True)})
def execution(call: Call) -> dict[str, Any]:
    """Return how a command stands: what is not wrapped in ``result``, unlike everything else here."""
    _check_agent(call)
    return call.datacentre.agents.status(call.vmid, call.args["pid"])
