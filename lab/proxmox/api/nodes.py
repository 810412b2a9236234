"""``/nodes``: the list of nodes, and what a node says of itself."""

from __future__ import annotations

import os
from typing import Any

from lab.proxmox.routing import Call, privilege, route
from lab.proxmox.summaries import node_summary, uptime_s


@route("GET", "/nodes")
def nodes(call: Call) -> list[dict[str, Any]]:
    """Return all nodes; numbers only with Sys.Audit."""
    return [
        node_summary(call.datacentre, node.name, call.may(f"/nodes/{node.name}", "Sys.Audit"))
        for node in call.datacentre.settings.nodes
    ]


@route("GET", "/nodes/{node}")
def index(_call: Call) -> list[dict[str, str]]:
    """Return the parts of a node's branch of the API."""
    return [{"name": name} for name in ("lxc", "qemu", "status", "storage", "tasks", "version")]


@route("GET", "/nodes/{node}/version")
def version(call: Call) -> dict[str, str]:
    """Return the node's version of Proxmox VE."""
    text = call.datacentre.settings.version
    return {"version": text, "release": ".".join(text.split(".")[:2]), "repoid": "0123456789abcdef"}


@route("GET", "/nodes/{node}/status", privilege("/nodes/{node}", "Sys.Audit"))
def status(call: Call) -> dict[str, Any]:
    """Return load (as strings), memory, CPU and version of a node."""
    node = call.datacentre.node(call.node)
    summary = node_summary(call.datacentre, node.name, with_statistics=True)
    memory = {"total": node.memory_bytes, "used": summary["mem"], "free": node.memory_bytes - summary["mem"]}
    return {
        "loadavg": [f"{load:.2f}" for load in os.getloadavg()],
        "uptime": uptime_s(),
        "idle": 0,
        "wait": 0,
        "cpu": summary["cpu"],
        "memory": memory | {"available": memory["free"]},
        "swap": {"total": 0, "used": 0, "free": 0},
        "cpuinfo": {"cores": node.cpus, "cpus": node.cpus, "sockets": 1, "model": "saltern lab", "mhz": "2400.000"},
        "rootfs": {"total": summary["maxdisk"], "used": 0, "free": summary["maxdisk"], "avail": summary["maxdisk"]},
        "pveversion": f"pve-manager/{call.datacentre.settings.version}/0123456789abcdef",
        "kversion": f"Linux {os.uname().release}",
        "ksm": {"shared": 0},
    }


@route("GET", "/nodes/{node}/lxc")
def containers(_call: Call) -> list[dict[str, Any]]:
    """Return the containers of a node: there are none here."""
    return []


@route("GET", "/nodes/{node}/network")
def networks(call: Call) -> list[dict[str, Any]]:
    """Return the bridge that the machines are on."""
    bridge = call.datacentre.settings.template.bridge
    return [
        {
            "iface": bridge,
            "type": "bridge",
            "active": 1,
            "autostart": 1,
            "address": call.datacentre.node(call.node).address,
        }
    ]
