"""``/cluster/ha/resources``: VMs that the HA manager looks after."""

from __future__ import annotations

from typing import Any

from lab.proxmox import high_availability
from lab.proxmox.errors import ProxmoxError
from lab.proxmox.routing import Call, Need, privilege, route
from lab.proxmox.schema import Integer, Kind, Text, matching

_READ: Need = privilege("/", "Sys.Audit")
_CHANGE: Need = privilege("/", "Sys.Console")
_STATES = ("started", "stopped", "enabled", "disabled", "ignored")
_OPTIONS: dict[str, Kind] = {
    "state": Text(choices=_STATES),
    "group": Text(),
    "comment": Text(),
    "max_restart": Integer(least=0),
    "max_relocate": Integer(least=0),
    "failback": Integer(least=0, most=1),
}


def _options(call: Call) -> dict[str, Any]:
    """Return the options of the call; ``group`` is refused, since PVE 9 has rules instead."""
    if "group" in call.args:
        raise ProxmoxError("invalid parameter 'group': ha groups have been migrated to rules")
    chosen = {name: call.args[name] for name in _OPTIONS if name in call.args}
    # "enabled" is the old word for "started".
    return chosen | ({"state": "started"} if chosen.get("state") == "enabled" else {})


def _sid(call: Call) -> str:
    sid = str(call.args["sid"])
    return sid if ":" in sid else f"vm:{sid}"


def _bring_about(call: Call, sid: str) -> None:
    state = call.datacentre.ha.get(sid).get("state", "started")
    if state in ("started", "stopped", "disabled"):
        wanted = "started" if state == "started" else "stopped"
        high_availability.bring_about(call.datacentre, int(sid.partition(":")[2]), wanted)


@route("GET", "/cluster/ha/resources", _READ, {"type": Text()})
def resources(call: Call) -> list[dict[str, Any]]:
    """Return the managed resources."""
    return call.datacentre.ha.all()


@route("GET", "/cluster/ha/resources/{sid}", _READ)
def resource(call: Call) -> dict[str, Any]:
    """Return one managed resource."""
    return call.datacentre.ha.get(_sid(call))


@route(
    "POST",
    "/cluster/ha/resources",
    _CHANGE,
    {
        "sid": Text(required=True, rule=matching(r"(vm:)?\d+", "invalid format - unable to parse HA resource id")),
        "type": Text(),
    }
    | _OPTIONS,
)
def add(call: Call) -> None:
    """Have the HA manager look after a VM; it starts it unless told otherwise."""
    sid = _sid(call)
    if call.datacentre.guests.find(int(sid.partition(":")[2])) is None:
        raise ProxmoxError(f"cannot add resource: no VM with ID '{sid.partition(':')[2]}' exists in cluster")
    call.datacentre.ha.add(sid, {"state": "started"} | _options(call))
    _bring_about(call, sid)


@route("PUT", "/cluster/ha/resources/{sid}", _CHANGE, _OPTIONS | {"delete": Text(), "digest": Text()})
def change(call: Call) -> None:
    """Change what is wanted of a managed VM."""
    call.datacentre.ha.change(_sid(call), _options(call))
    _bring_about(call, _sid(call))


@route("DELETE", "/cluster/ha/resources/{sid}", _CHANGE, {"purge": Integer(least=0, most=1)})
def remove(call: Call) -> None:
    """Stop managing a VM."""
    call.datacentre.ha.remove(_sid(call))
