"""The disks of a machine that is destroyed: Proxmox may leave one behind, and yet its task ends well.

`qm destroy` only warns of a disk that it cannot free (a storage lock that it waited for in vain, a cluster storage that
is away), then removes the configuration. Up to 8.x the task ends as OK, later ones as WARNINGS: n; its log has "Could
not remove disk 'VOLUME', check manually: REASON". It tries once more for disks that no configuration names, so such a
line need not mean that the disk is still there. Source: qemu-server, destroy_vm in PVE/QemuServer.pm.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from saltern.proxmox import inventory
from saltern.proxmox.api import Proxmox
from saltern.proxmox.errors import LeftDiskError, NotFoundError, ProxmoxError, RefusedError

_COULD_NOT = re.compile(r"Could not remove disk '(?P<volume>[^']+)', check manually: (?P<why>.*)")
# Storages name a disk after its machine: local-lvm:vm-104-disk-0, a linked clone's ceph:base-9000-disk-0/vm-104-disk-0,
# in a directory local:104/vm-104-disk-0.qcow2.
_OWNED = re.compile(r"^[^:/]+:(?:.*/)?vm-(?P<vmid>\d+)-[^/]+$")


def of(config: Mapping[str, Any], vmid: int) -> list[str]:
    """The disks in a machine's configuration that are its own: ["local-lvm:vm-104-disk-0"]."""
    volumes = [str(value).partition(",")[0] for _, value in sorted(config.items())]
    return [volume for volume in dict.fromkeys(volumes) if _owner(volume) == vmid]


def told_in(log: Iterable[str], vmid: int) -> dict[str, str]:
    """The machine's disks that could not be removed according to the log of its destroy task: {volume: reason}."""
    found = [match for line in log if (match := _COULD_NOT.search(line))]
    return {match["volume"]: match["why"].strip() for match in found if _owner(match["volume"]) == vmid}


def removed(api: Proxmox, node: str, volume: str, why: str, remove: Callable[[Proxmox, str, str], bool]) -> bool:
    """Remove a disk that a destroyed machine may have left, unless it is gone, or a machine's by now.

    Args:
        api: the connection.
        node: where the machine was.
        volume: its disk.
        why: Proxmox's reason for leaving it; "" when it is not known.
        remove: deletes a volume, with the connection and the node; returns whether it was there.

    Returns: whether it was there and is removed. Raises: ProxmoxError.
    """
    # In this order: a disk that is there now cannot become that of a machine which takes the number from here on.
    with _explained(node, volume, f"Looking for disk {volume} of a destroyed machine"):
        if not _there(api, node, volume):
            return False
    if not _nobodys(api, volume):
        return False
    with _explained(node, volume, f"Removing {told(volume, why)}"):
        return remove(api, node, volume)


def told(volume: str, why: str) -> str:
    """A disk that was left, as a phrase."""
    return f"disk {volume}, which Proxmox had left" + (f" ({why})" if why else "")


@contextmanager
def _explained(node: str, volume: str, call: str) -> Iterator[None]:
    """What goes wrong leaves the disk, and the operator is told what to type."""
    try:
        yield
    except ProxmoxError as err:
        remedy = f"On the Proxmox node {node}: pvesm free {volume}. Then run the same command again."
        raise LeftDiskError(call, err.text, remedy) from err


def _owner(volume: str) -> int | None:
    match = _OWNED.match(volume)
    return int(match["vmid"]) if match else None


def _there(api: Proxmox, node: str, volume: str) -> bool:
    """Whether the storage has the disk; who names the machine in the question need not have rights on it any more."""
    path = f"nodes/{node}/storage/{volume.partition(':')[0]}/content"
    try:
        rows = api.call("GET", path, content="images", vmid=_owner(volume))
    except NotFoundError:  # the storage, or the node, is no part of Proxmox any more
        return False
    return volume in {str(row["volid"]) for row in rows}


def _nobodys(api: Proxmox, volume: str) -> bool:
    """Whether no machine uses the disk. Its number may be another's by now, who may have made a disk of that name.

    Raises: RefusedError when that cannot be told.
    """
    vmid = _owner(volume)
    if vmid is None or inventory.is_free(api, vmid):
        return True
    node = inventory.node_of(api, vmid)
    try:
        config = api.call("GET", f"nodes/{node}/qemu/{vmid}/config") if node else None
    except NotFoundError:  # gone since
        return True
    if config is None or "lock" in config:
        why = "is not yours to read" if config is None else f"is locked ({config['lock']})"
        raise RefusedError(
            f"Looking for who uses the disk {volume}",
            f"its number {vmid} is another machine's by now, which {why}: nobody can tell whose disk it is",
            f"Wait until it is unlocked and run the same command again; or look (qm config {vmid}), and if that "
            f"machine does not have the disk: pvesm free {volume}.",
        )
    return not any(volume in str(value) for value in config.values())
