"""``/version`` and ``/cluster``: what the cluster is, and what runs in it."""

from __future__ import annotations

from typing import Any

from lab.proxmox.errors import invalid
from lab.proxmox.guests import Guest
from lab.proxmox.routing import Call, privilege, route
from lab.proxmox.schema import Integer, Text
from lab.proxmox.settings import Storage
from lab.proxmox.summaries import guest_summary, node_summary, storage_summary

# cluster/tasks shows so many of the youngest tasks of each node.
_TASKS_PER_NODE = 25


@route("GET", "/version")
def version(call: Call) -> dict[str, str]:
    """Return the version of Proxmox VE that is spoken here."""
    text = call.datacentre.settings.version
    return {"version": text, "release": ".".join(text.split(".")[:2]), "repoid": "0123456789abcdef"}


@route("GET", "/cluster/nextid", parameters={"vmid": Integer(least=100, most=999999999)})
def next_id(call: Call) -> str:
    """Return a free VM ID; nothing is reserved. With ``vmid``, that one if it is free."""
    wanted = call.args.get("vmid")
    if wanted is None:
        return str(call.datacentre.guests.next_free())
    if call.datacentre.guests.find(wanted):
        raise invalid(vmid=f"VM {wanted} already exists")
    return str(wanted)


@route("GET", "/cluster/resources", parameters={"type": Text(choices=("vm", "storage", "node", "sdn"))})
def resources(call: Call) -> list[dict[str, Any]]:
    """Return VMs, nodes, storages and networks that the caller may see; what is said of VMs is some seconds old."""
    parts = {"vm": _guest_rows, "node": _node_rows, "storage": _storage_rows, "sdn": _network_rows}
    wanted = [call.args["type"]] if "type" in call.args else list(parts)
    return [row for part in wanted for row in parts[part](call)]


def _guest_rows(call: Call) -> list[dict[str, Any]]:
    centre = call.datacentre
    known = centre.statistics.rows(lambda: {guest.vmid: _statistics(call, guest) for guest in centre.guests.all()})
    return [
        _identity(call, guest) | known.get(guest.vmid, {"status": "unknown"})
        for guest in centre.guests.all()
        if call.may(f"/vms/{guest.vmid}", "VM.Audit")
    ]


def _identity(call: Call, guest: Guest) -> dict[str, Any]:
    """Return what is known of a VM at once."""
    row: dict[str, Any] = {"id": f"qemu/{guest.vmid}", "type": "qemu", "vmid": guest.vmid, "node": guest.node}
    pool = call.datacentre.pools.of_guest(guest.vmid)
    return row | ({"pool": pool} if pool else {}) | ({"lock": guest.lock} if guest.lock else {})


def _statistics(call: Call, guest: Guest) -> dict[str, Any]:
    row = guest_summary(call.datacentre, guest)
    row["maxcpu"] = row.pop("cpus")
    names = ("name", "status", "maxcpu", "maxmem", "maxdisk", "mem", "cpu", "disk", "uptime", "tags", "netin", "netout")
    return {name: row[name] for name in names if name in row} | {"template": int(guest.is_template)}


def _node_rows(call: Call) -> list[dict[str, Any]]:
    return [
        node_summary(call.datacentre, node.name, call.may(f"/nodes/{node.name}", "Sys.Audit"))
        for node in call.datacentre.settings.nodes
    ]


def _storage_rows(call: Call) -> list[dict[str, Any]]:
    rows = []
    for node in call.datacentre.settings.nodes:
        for storage in call.datacentre.settings.storages:
            if call.may(f"/storage/{storage.name}", "Datastore.Audit", "Datastore.AllocateSpace", any_of=True):
                rows.append(_storage_row(call, node.name, storage))
    return rows


def _storage_row(call: Call, node: str, storage: Storage) -> dict[str, Any]:
    row = storage_summary(call.datacentre, storage)
    return {
        "id": f"storage/{node}/{storage.name}",
        "type": "storage",
        "storage": storage.name,
        "node": node,
        "status": "available",
        "plugintype": storage.kind,
        "content": row["content"],
        "shared": row["shared"],
        "maxdisk": row["total"],
        "disk": row["used"],
    }


def _network_rows(call: Call) -> list[dict[str, Any]]:
    return [
        {"id": f"sdn/{node.name}/localnetwork", "type": "sdn", "sdn": "localnetwork", "node": node.name, "status": "ok"}
        for node in call.datacentre.settings.nodes
        if call.may("/sdn/zones/localnetwork", "SDN.Audit", "SDN.Use", any_of=True)
    ]


@route("GET", "/cluster/status", privilege("/", "Sys.Audit"))
def status(call: Call) -> list[dict[str, Any]]:
    """Return the cluster and its nodes; ``level`` is empty, never null."""
    centre = call.datacentre
    nodes = [
        {"type": "node", "id": f"node/{node.name}", "name": node.name, "ip": node.address, "nodeid": number,
         "online": int(centre.is_online(node.name)), "local": int(node == centre.settings.local_node), "level": ""}
        for number, node in enumerate(centre.settings.nodes, start=1)
    ]  # fmt: skip
    cluster = {"type": "cluster", "id": "cluster", "name": centre.settings.cluster_name, "nodes": len(nodes)}
    return [cluster | {"version": len(nodes), "quorate": int(centre.faults.quorate)}, *nodes]


@route("GET", "/cluster/tasks")
def recent_tasks(call: Call) -> list[dict[str, Any]]:
    """Return the youngest tasks of all nodes: one's own, and with Sys.Audit those of all."""
    shown: list[dict[str, Any]] = []
    for node in call.datacentre.settings.nodes:
        mine = [
            task
            for task in call.datacentre.tasks.all()
            if task.node == node.name and (call.who.owns(task.user) or call.may(f"/nodes/{node.name}", "Sys.Audit"))
        ]
        shown += [task.listed() for task in mine[:_TASKS_PER_NODE]]
    return shown


@route("GET", "/cluster")
def index(_call: Call) -> list[dict[str, str]]:
    """Return the parts of this branch of the API."""
    return [{"name": name} for name in ("ha", "nextid", "resources", "status", "tasks")]
