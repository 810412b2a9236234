"""``/nodes/{node}/storage`` and ``/storage``: storages, their content, uploads."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from lab.proxmox.errors import ProxmoxError
from lab.proxmox.routing import Call, Need, privilege, route
from lab.proxmox.schema import Boolean, Integer, Received, Text
from lab.proxmox.summaries import storage_summary
from lab.proxmox.tasks import Task
from lab.proxmox.volumes import EXTENSIONS, Volume
from lab.proxmox.wire import UPLOADED

_READ: Need = privilege("/storage/{storage}", "Datastore.Audit", "Datastore.AllocateSpace", any_of=True)


@route("GET", "/storage", parameters={"type": Text()})
def definitions(call: Call) -> list[dict[str, Any]]:
    """Return the storages as the cluster defines them."""
    return [
        {"storage": each.name, "type": each.kind, "content": ",".join(each.content), "shared": int(each.shared)}
        for each in call.datacentre.settings.storages
        if call.may(f"/storage/{each.name}", "Datastore.Audit", "Datastore.AllocateSpace", any_of=True)
    ]


@route(
    "GET",
    "/nodes/{node}/storage",
    parameters={"storage": Text(), "content": Text(), "enabled": Boolean(), "target": Text(), "format": Boolean()},
)
def storages(call: Call) -> list[dict[str, Any]]:
    """Return the storages of a node that the caller may see."""
    rows = []
    for storage in call.datacentre.settings.storages:
        wanted = set(str(call.args.get("content", "")).split(",")) - {""}
        visible = call.may(f"/storage/{storage.name}", "Datastore.Audit", "Datastore.AllocateSpace", any_of=True)
        named = call.args.get("storage", storage.name) == storage.name
        if visible and named and wanted <= set(storage.content):
            rows.append(storage_summary(call.datacentre, storage))
    return rows


@route("GET", "/nodes/{node}/storage/{storage}/status", _READ)
def status(call: Call) -> dict[str, Any]:
    """Return sizes and state of one storage."""
    storage = call.datacentre.volumes.storage(call.args["storage"])
    return {key: value for key, value in storage_summary(call.datacentre, storage).items() if key != "storage"}


@route("GET", "/nodes/{node}/storage/{storage}/content", _READ, {"content": Text(), "vmid": Integer()})
def content(call: Call) -> list[dict[str, Any]]:
    """Return the volumes of a storage, all or of one content or VM."""
    storage = call.datacentre.volumes.storage(call.args["storage"])
    return [
        _row(volume)
        for volume in call.datacentre.volumes.list(storage.name)
        if volume.content == call.args.get("content", volume.content)
        and volume.vmid == call.args.get("vmid", volume.vmid)
    ]


def _row(volume: Volume) -> dict[str, Any]:
    names = ("volid", "content", "format", "size", "ctime", "vmid")
    row = {name: getattr(volume, name) for name in names if getattr(volume, name) is not None}
    return row | ({"parent": volume.base.partition(":")[2]} if volume.base else {})


def _volid(call: Call) -> str:
    """Return the volume ID that the path names, with or without its storage."""
    storage, volume = call.args["storage"], str(call.args["volume"])
    return volume if volume.startswith(f"{storage}:") else f"{storage}:{volume}"


@route("GET", "/nodes/{node}/storage/{storage}/content/{volume}", _READ)
def volume(call: Call) -> dict[str, Any]:
    """Return path, size and format of a volume."""
    found = call.datacentre.volumes.get(_volid(call))
    path = call.datacentre.volumes.file(found.volid) or Path("/dev", found.storage, found.volid.partition(":")[2])
    return {"path": str(path), "size": found.size, "used": found.size, "format": found.format}


def _known(call: Call) -> list[Volume]:
    name = call.args["storage"]
    return call.datacentre.volumes.list(name) if name in call.datacentre.volumes.storages else []


@route(
    "DELETE",
    "/nodes/{node}/storage/{storage}/content/{volume}",
    privilege("/storage/{storage}", "Datastore.Allocate"),
    {"delay": Integer(least=1, most=30)},
)
def remove(call: Call) -> str:
    """Remove a volume, a VM's disk too, whatever one may do with that VM; an ``imgdel`` task."""
    centre, volid = call.datacentre, _volid(call)
    centre.volumes.storage(call.args["storage"])

    def work(task: Task) -> None:
        task.pace(centre.settings.durations.config_s)
        centre.volumes.get(volid)
        centre.volumes.remove(volid)
        task.say(f"Removed volume '{volid}'")

    owner = next((volume.vmid for volume in _known(call) if volume.volid == volid), None)
    prefix = f"{owner}@" if owner else ""
    return call.start("imgdel", f"{prefix}{call.args['storage']}", work)


@route(
    "POST",
    "/nodes/{node}/storage/{storage}/upload",
    privilege("/storage/{storage}", "Datastore.AllocateTemplate"),
    {
        "content": Text(required=True, choices=tuple(EXTENSIONS)),
        "filename": Text(required=True),
        "checksum": Text(),
        "checksum-algorithm": Text(choices=("md5", "sha1", "sha224", "sha256", "sha384", "sha512")),
        UPLOADED: Received(),
    },
)
def upload(call: Call) -> str:
    """Take a file in; an ``imgcopy`` task of the contacted node, whatever node the path names."""
    centre, args = call.datacentre, call.args
    centre.volumes.check_upload(args["storage"], args["content"], args["filename"])
    if UPLOADED not in args:
        raise ProxmoxError("upload failed: there is no file part named 'filename'")
    received: Path = args[UPLOADED]
    target = centre.volumes.folder(args["storage"], args["content"]) / str(args["filename"])

    def work(task: Task) -> None:
        _check_sum(received, args.get("checksum-algorithm"), args.get("checksum"))
        task.say(f"target file: {target}")
        centre.volumes.check_room(args["storage"], target, received.stat().st_size)
        target.parent.mkdir(parents=True, exist_ok=True)
        received.replace(target)

    return call.start(
        "imgcopy",
        "",
        work,
        node=centre.settings.local_node.name,
        afterwards=lambda: received.unlink(missing_ok=True),
    )


def _check_sum(path: Path, algorithm: str | None, wanted: str | None) -> None:
    """Raise ProxmoxError unless a file has the sum that the caller expects."""
    if algorithm is None or wanted is None:
        return
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, algorithm).hexdigest()
    if found != wanted.lower():
        raise ProxmoxError(f"checksum mismatch: got '{found}' != expect '{wanted}'")
