"""``qemu/{vmid}/firewall``: options and rules, kept and shown, filtering nothing."""

from __future__ import annotations

from typing import Any

from lab.proxmox.errors import ProxmoxError
from lab.proxmox.guests import Guest
from lab.proxmox.routing import Call, Need, privilege, route
from lab.proxmox.schema import Boolean, Integer, Kind, Text

_READ: Need = privilege("/vms/{vmid}", "VM.Audit")
_CHANGE: Need = privilege("/vms/{vmid}", "VM.Config.Network")
_POLICY = Text(choices=("ACCEPT", "REJECT", "DROP"))
_LEVEL = Text(choices=("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"))
_OPTIONS: dict[str, Kind] = {
    **{name: Boolean() for name in ("enable", "dhcp", "ipfilter", "macfilter", "ndp", "radv")},
    "policy_in": _POLICY,
    "policy_out": _POLICY,
    "log_level_in": _LEVEL,
    "log_level_out": _LEVEL,
}
_RULE: dict[str, Kind] = {
    "type": Text(required=True, choices=("in", "out", "forward", "group")),
    "action": Text(required=True),
    "enable": Integer(least=0),
    "pos": Integer(least=0),
    **{
        name: Text()
        for name in [
            "comment",
            "dest",
            "dport",
            "icmp-type",
            "iface",
            "log",
            "macro",
            "proto",
            "source",
            "sport",
            "digest",
        ]
    },
}


def _guest(call: Call) -> Guest:
    return call.datacentre.guests.get(call.vmid, call.node)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: int(value) if isinstance(value, bool) else value for key, value in values.items()}


@route("GET", "/nodes/{node}/qemu/{vmid}/firewall/options", _READ)
def options(call: Call) -> dict[str, Any]:
    """Return the firewall options of a VM."""
    return dict(_guest(call).firewall["options"])


@route("PUT", "/nodes/{node}/qemu/{vmid}/firewall/options", _CHANGE, _OPTIONS | {"delete": Text(), "digest": Text()})
def change_options(call: Call) -> None:
    """Change firewall options of a VM."""
    guest = _guest(call)
    removed = str(call.args.get("delete", "")).split(",")
    chosen = guest.firewall["options"] | _plain({key: call.args[key] for key in _OPTIONS if key in call.args})
    guest.firewall["options"] = {key: value for key, value in chosen.items() if key not in removed}
    call.datacentre.guests.save(guest)


@route("GET", "/nodes/{node}/qemu/{vmid}/firewall/rules", _READ)
def rules(call: Call) -> list[dict[str, Any]]:
    """Return the firewall rules of a VM with their positions."""
    return [row | {"pos": position} for position, row in enumerate(_guest(call).firewall["rules"])]


@route("POST", "/nodes/{node}/qemu/{vmid}/firewall/rules", _CHANGE, _RULE)
def add_rule(call: Call) -> None:
    """Add a firewall rule, at the top unless ``pos`` says where."""
    guest = _guest(call)
    row = _plain({key: call.args[key] for key in _RULE if key in call.args and key not in ("pos", "digest")})
    guest.firewall["rules"].insert(call.args.get("pos", 0), row)
    call.datacentre.guests.save(guest)


@route("DELETE", "/nodes/{node}/qemu/{vmid}/firewall/rules/{pos}", _CHANGE, {"digest": Text()})
def remove_rule(call: Call) -> None:
    """Remove the firewall rule at a position."""
    guest = _guest(call)
    position = int(call.args["pos"]) if str(call.args["pos"]).isdigit() else -1
    if not 0 <= position < len(guest.firewall["rules"]):
        raise ProxmoxError(f"no rule at position {call.args['pos']}")
    del guest.firewall["rules"][position]
    call.datacentre.guests.save(guest)
