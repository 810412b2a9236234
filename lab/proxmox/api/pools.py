"""``/pools``: resource pools."""

from __future__ import annotations

import re
from typing import Any

from lab.proxmox.errors import ProxmoxError
from lab.proxmox.routing import Call, Need, privilege, route
from lab.proxmox.schema import POOL, Boolean, Text
from lab.proxmox.summaries import guest_summary, storage_summary

_ALLOCATE: Need = privilege("/pool/{poolid}", "Pool.Allocate")


@route("GET", "/pools", parameters={"poolid": POOL, "type": Text(choices=("qemu", "lxc", "storage"))})
def pools(call: Call) -> list[dict[str, Any]]:
    """Return the pools that the caller may see; a single one with its members."""
    wanted = call.args.get("poolid")
    if wanted is not None:
        call.require(f"/pool/{wanted}", "Pool.Audit")
        return [
            {
                "poolid": wanted,
                "comment": call.datacentre.pools.get(wanted)["comment"],
                "members": _members(call, wanted),
            }
        ]
    return [
        {"poolid": name, "comment": call.datacentre.pools.get(name)["comment"]}
        for name in call.datacentre.pools.names()
        if call.may(f"/pool/{name}", "Pool.Audit", "Pool.Allocate", any_of=True)
    ]


@route("GET", "/pools/{poolid}", privilege("/pool/{poolid}", "Pool.Audit"))
def pool(call: Call) -> dict[str, Any]:
    """Return one pool with its members (the older form of the call)."""
    name = call.args["poolid"]
    return {"comment": call.datacentre.pools.get(name)["comment"], "members": _members(call, name)}


def _members(call: Call, name: str) -> list[dict[str, Any]]:
    centre = call.datacentre
    row = centre.pools.get(name)
    guests = [guest for vmid in row["vms"] if (guest := centre.guests.find(vmid)) is not None]
    machines = [
        guest_summary(centre, guest) | {"id": f"qemu/{guest.vmid}", "type": "qemu", "node": guest.node}
        for guest in guests
    ]
    node = centre.settings.local_node.name
    storages = [
        storage_summary(centre, centre.volumes.storage(each))
        | {"id": f"storage/{node}/{each}", "type": "storage", "node": node}
        for each in row["storages"]
    ]
    return [*machines, *storages]


@route("POST", "/pools", _ALLOCATE, {"poolid": Text(required=True, rule=POOL.rule), "comment": Text(default="")})
def add(call: Call) -> None:
    """Add a pool."""
    call.datacentre.pools.add(call.args["poolid"], call.args["comment"])


_MEMBERS = {
    "vms": Text(),
    "storage": Text(),
    "delete": Boolean(default=False),
    "allow-move": Boolean(),
    "comment": Text(),
}


@route("PUT", "/pools", _ALLOCATE, {"poolid": Text(required=True)} | _MEMBERS)
@route("PUT", "/pools/{poolid}", _ALLOCATE, _MEMBERS)
def change(call: Call) -> None:
    """Put VMs and storages into a pool, or take them out with ``delete``."""
    name, pools_, delete = call.args["poolid"], call.datacentre.pools, call.args["delete"]
    pools_.get(name)
    if "comment" in call.args:
        pools_.set_comment(name, call.args["comment"])
    for vmid in _words(call.args.get("vms", "")):
        call.require(f"/vms/{vmid}", "VM.Allocate")
        _move_guest(call, name, int(vmid), delete)
    storages = _words(call.args.get("storage", ""))
    for storage in storages:
        call.require(f"/storage/{storage}", "Datastore.Allocate")
        call.datacentre.volumes.storage(storage)
    pools_.change_storages(name, [] if delete else storages, storages if delete else [])


def _move_guest(call: Call, name: str, vmid: int, delete: bool) -> None:
    pools_ = call.datacentre.pools
    if delete and pools_.of_guest(vmid) != name:
        raise ProxmoxError(f"update pools failed: VM {vmid} is not a pool member")
    if call.datacentre.guests.find(vmid) is None:
        raise ProxmoxError(f"update pools failed: VM {vmid} does not exist")
    if delete or call.args.get("allow-move"):
        pools_.remove_guest(vmid)
    if not delete:
        pools_.add_guest(name, vmid)


@route("DELETE", "/pools", _ALLOCATE, {"poolid": Text(required=True)})
@route("DELETE", "/pools/{poolid}", _ALLOCATE)
def remove(call: Call) -> None:
    """Remove an empty pool."""
    call.datacentre.pools.remove(call.args["poolid"])


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[,;\s]+", text) if word]
