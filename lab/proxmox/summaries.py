"""The rows that several lists of the API share: a VM, a node, a storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.proxmox import config_values
from lab.proxmox.datacentre import Datacentre
from lab.proxmox.guests import Guest
from lab.proxmox.settings import Storage

_MIB = 1024**2
# Share of a node's CPU time, and of a VM's memory, that is shown as used: nothing measures it here.
_IDLE_CPU = 0.01


def guest_summary(datacentre: Datacentre, guest: Guest) -> dict[str, Any]:
    """Return the row of ``nodes/{n}/qemu``: ``template`` is only there on templates, ``pid`` only while it runs."""
    running = datacentre.running(guest)
    config = guest.config
    memory_bytes = int(config.get("memory", "512")) * _MIB
    disks = [drive for drive in config_values.drives(config).values() if not drive.is_cdrom]
    row: dict[str, Any] = {
        "vmid": guest.vmid,
        "name": guest.name,
        "status": "running" if running else "stopped",
        "cpus": int(config.get("cores", "1")) * int(config.get("sockets", "1")),
        "cpu": _IDLE_CPU if running else 0,
        "maxmem": memory_bytes,
        "mem": memory_bytes // 4 if running else 0,
        "maxdisk": disks[0].size_bytes if disks else 0,
        "disk": 0,
        "diskread": 0,
        "diskwrite": 0,
        "netin": 0,
        "netout": 0,
        "uptime": int(datacentre.clock() - guest.started_at) if running else 0,
    }
    row |= {"pid": 100000 + guest.vmid} if running else {}
    row |= {"template": 1} if guest.is_template else {}
    row |= {name: config[name] for name in ("lock", "tags") if name in config}
    return row


def node_summary(datacentre: Datacentre, name: str, with_statistics: bool) -> dict[str, Any]:
    """Return the row of ``/nodes``: numbers only for those who may see them, and of nodes that answer."""
    node = datacentre.node(name)
    online = datacentre.is_online(name)
    row: dict[str, Any] = {
        "id": f"node/{name}",
        "node": name,
        "type": "node",
        "status": "online" if online else "offline",
    }
    if not (with_statistics and online):
        return row
    used_bytes = sum(
        int(guest.config.get("memory", "512")) * _MIB // 4
        for guest in datacentre.guests.all()
        if guest.node == name and datacentre.running(guest)
    )
    return row | {
        "cpu": _IDLE_CPU,
        "maxcpu": node.cpus,
        "mem": used_bytes,
        "maxmem": node.memory_bytes,
        "disk": 0,
        "maxdisk": sum(storage.capacity_bytes for storage in datacentre.settings.storages if storage.kind == "dir"),
        "uptime": uptime_s(),
        "level": "",
        "ssl_fingerprint": "",
    }


def storage_summary(datacentre: Datacentre, storage: Storage) -> dict[str, Any]:
    """Return the row of ``nodes/{n}/storage``; sizes in bytes."""
    free = datacentre.volumes.free_bytes(storage.name)
    used = storage.capacity_bytes - free
    return {
        "storage": storage.name,
        "type": storage.kind,
        "content": ",".join(storage.content),
        "active": 1,
        "enabled": 1,
        "shared": int(storage.shared),
        "total": storage.capacity_bytes,
        "used": used,
        "avail": free,
        "used_fraction": used / storage.capacity_bytes,
    }


def uptime_s() -> int:
    """Return how long this machine has been up, in seconds."""
    return int(float(Path("/proc/uptime").read_text(encoding="ascii").split()[0]))
