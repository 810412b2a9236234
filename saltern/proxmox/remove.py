"""Taking machines away: what the operator asks for, and what a failed create has made."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from saltern.proxmox import disks, inventory, machine, tasks
from saltern.proxmox.api import Proxmox
from saltern.proxmox.errors import (
    UNANSWERED,
    BusyError,
    MachineIdTakenError,
    NotFoundError,
    PermissionDeniedError,
    ProxmoxError,
    RefusedError,
)
from saltern.proxmox.inventory import Machine
from saltern.proxmox.journal import Record
from saltern.proxmox.tasks import Upid

_ATTEMPTS = 6
_LONGEST_PAUSE_S = 15.0
_REMOVAL_S = 120.0
_NAME_PAUSE_S = 2.0
# The types of the tasks that bring something new: a clone, an uploaded image.
_BRINGING = ("qmclone", "imgcopy")
Result = TypeVar("Result")


class Keys(Protocol):
    """The master's minion keys, by minion ID."""

    def accept(self, name: str, public_key: str) -> None:
        """Accept this public key (PEM) for that minion."""

    def forget(self, name: str) -> None:
        """Remove the accepted key, if there is one."""


@dataclass
class Outcome:
    """What was taken back, and what could not be, each as a phrase."""

    removed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"Removed again: {', '.join(self.removed) or 'nothing, for nothing was made'}."]
        if self.left:
            parts.append(f"LEFT BEHIND, and removed first when the same command runs again: {'; '.join(self.left)}")
        return " ".join(parts)


def persistently(act: Callable[[], Result], pause: Callable[[float], None] = time.sleep) -> Result:
    """Do something, and again when Proxmox timed out on one of its own locks or gave its machine number away.

    Other failures are final. The pauses grow and vary, so that creates that run side by side do not collide again.

    Raises: what `act` raises last.
    """
    for attempt in range(_ATTEMPTS - 1):
        try:
            return act()
        except (BusyError, MachineIdTakenError):
            pause(random.uniform(0.5, 1.0) * min(2.0**attempt, _LONGEST_PAUSE_S))  # noqa: S311  # spreads retries
    return act()


def machine_and_seed(
    api: Proxmox, found: Machine, record: Record, pause: Callable[[float], None] = time.sleep
) -> list[str]:
    """Stop a machine, wait, destroy it with its disks and its places in backup, replication and HA jobs.

    A seed image that is still in its drive goes too; an image that is not one of its own seeds stays. A machine that
    is gone in the end is no failure, whoever removed it. The record, a fresh one, has its disks until all are gone.

    Returns: what was removed, as phrases. Raises: ProxmoxError.
    """
    if found.template:
        raise RefusedError(f"Destroying {found.name}", "it is a template", "Remove templates in Proxmox itself.")
    removed = [f"machine {found.vmid} on {found.node}"]
    try:
        seeds = machine.seeds_of(found.name, inventory.config(api, found))
        _stop(api, found.path, pause)
        # Before their machine: when that cannot be destroyed, its drive still names those that are left.
        removed += [f"seed image {volid}" for volid in seeds if image(api, found.node, volid, pause)]
        _destroyed(api, record, found.node, found.vmid, pause)
    except ProxmoxError as err:
        if not _is_gone(api, found):
            if not isinstance(err, UNANSWERED):
                record.close()
            raise
    removed += _disks_removed(api, record, pause)
    record.close()
    return removed


def made(api: Proxmox, record: Record, keys: Keys, pause: Callable[[float], None] = time.sleep) -> Outcome:
    """Take back exactly what a record says that its create made; the record is closed when nothing is left.

    A machine of the recorded number but of another name is somebody else's: it is not touched.
    """
    outcome = Outcome()
    acts: list[tuple[str, Callable[[], str | list[str] | None]]] = [
        (f"task {record.upid}", lambda: _task_ended(api, record, pause)),
        (f"machine {record.vmid} on {record.node}", lambda: _machine_removed(api, record, pause)),
        (f"disks of {record.name}", lambda: _disks_removed(api, record, pause)),
        (f"seed image {record.seed_volid}", lambda: _seed_removed(api, record, pause)),
        (f"minion key of {record.name}", lambda: _key_removed(record, keys)),
    ]
    for title, act in acts:
        try:
            removed = act()
        except (ProxmoxError, OSError) as err:
            outcome.left.append(f"{title}: {err}")
        else:
            outcome.removed += [removed] if isinstance(removed, str) else removed or []
    if record.address:
        outcome.removed.append(f"reservation of {record.address}")
    if not outcome.left:
        record.close()
    return outcome


def image(api: Proxmox, node: str, volid: str, pause: Callable[[float], None] = time.sleep) -> bool:
    """Delete an image from its storage. Returns: whether it was there. Raises: ProxmoxError."""
    storage = volid.split(":")[0]
    path = f"nodes/{node}/storage/{storage}/content/{volid}"
    try:
        persistently(lambda: api.task("DELETE", path, timeout_s=_REMOVAL_S), pause)
    except NotFoundError:
        return False
    return True


def _stop(api: Proxmox, path: str, pause: Callable[[float], None]) -> None:
    """Switch a machine off; always, for Proxmox refuses to destroy one that runs, and off is no error."""
    persistently(lambda: api.task("POST", f"{path}/status/stop", timeout_s=_REMOVAL_S), pause)


def _destroyed(api: Proxmox, record: Record, node: str, vmid: int, pause: Callable[[float], None]) -> None:
    """Destroy a machine; its disks are noted before, for the task ends well even when it could not remove one."""
    path = f"nodes/{node}/qemu/{vmid}"
    own = disks.of(api.call("GET", f"{path}/config"), vmid)
    record.note(disks=dict.fromkeys(own, ""), disk_node=node)
    options = {"purge": 1, "destroy-unreferenced-disks": 1}
    task = persistently(lambda: api.task("DELETE", path, timeout_s=_REMOVAL_S, **options), pause)
    # The log only adds why, and disks that are no part of the configuration; without it, what was noted is looked for.
    with suppress(ProxmoxError):
        record.note(disks=record.disks | disks.told_in(tasks.log_lines(api, task) if task else (), vmid))


def _disks_removed(api: Proxmox, record: Record, pause: Callable[[float], None]) -> list[str]:
    """Remove what is left of the disks of a machine that was destroyed. Returns: the disks, as phrases."""

    def delete(connection: Proxmox, node: str, volume: str) -> bool:
        return image(connection, node, volume, pause)

    gone = []
    for volume, why in list(record.disks.items()):
        if disks.removed(api, str(record.disk_node), volume, why, delete):
            gone.append(disks.told(volume, why))
        record.note(disks={other: reason for other, reason in record.disks.items() if other != volume})
    return gone


def _is_gone(api: Proxmox, found: Machine) -> bool:
    """Whether no node has the machine any more; its number may be another's by now."""
    node = inventory.node_of(api, found.vmid) or found.node
    try:
        return bool(api.call("GET", f"nodes/{node}/qemu/{found.vmid}/config").get("name") != found.name)
    except NotFoundError:
        return True
    except PermissionDeniedError:
        return inventory.is_free(api, found.vmid)


def _task_ended(api: Proxmox, record: Record, pause: Callable[[float], None]) -> None:
    """Stop the task that a broken-off create left running: it holds the machine's lock, or brings what is to go."""
    if record.upid is not None:
        upid = Upid.parse(record.upid)
        try:
            # Those who started it may stop it: with other credentials than then, its end can only be waited for.
            with suppress(PermissionDeniedError):
                tasks.abort(api, upid)
            tasks.ended(api, f"Stopping the task {upid.type}", upid, _REMOVAL_S, pause)
        except NotFoundError:
            pass  # Proxmox keeps only the last tasks: this one ended long ago.
    if record.unanswered:
        _strays_ended(api, pause)
    if record.pending:
        record.note(upid=None, unanswered=False)


def _strays_ended(api: Proxmox, pause: Callable[[float], None]) -> None:
    """Wait for every task that could be the one of a call whose answer was lost; others of our own end as well."""
    user = api.settings.user
    for row in api.call("GET", "cluster/tasks"):
        ours = str(row["user"]).partition("!")[0] == user
        if ours and row["type"] in _BRINGING and "endtime" not in row:
            upid = Upid.parse(row["upid"])
            tasks.ended(api, f"Waiting for a task {upid.type} whose call was not answered", upid, _REMOVAL_S, pause)


def _machine_removed(api: Proxmox, record: Record, pause: Callable[[float], None]) -> str | None:
    """Remove the machine of the recorded number, if it is the record's: by now the number may be another's."""
    if record.vmid is None:
        return None
    # A clone stays on its template's node until the end, and is then moved.
    node = inventory.node_of(api, record.vmid) or record.node
    path = f"nodes/{node}/qemu/{record.vmid}"
    try:
        if _name_of(api, record.vmid, path, pause) != record.name:
            return None
        _stop(api, path, pause)
        _destroyed(api, record, str(node), record.vmid, pause)
    except NotFoundError:
        return None
    except PermissionDeniedError:
        # Whose rights are on a pool is refused a machine that is not there as he is a stranger's.
        if inventory.is_free(api, record.vmid):
            return None
        raise
    removed = f"machine {record.vmid} on {node}"
    record.note(vmid=None)
    return removed


def _name_of(api: Proxmox, vmid: int, path: str, pause: Callable[[float], None]) -> str:
    """The name of a machine; a clone gets its own only at its end, which is waited for."""
    deadline = time.monotonic() + _REMOVAL_S
    while (name := api.call("GET", f"{path}/config").get("name")) is None:
        if time.monotonic() >= deadline:
            raise RefusedError(
                f"GET {path}/config",
                f"after {_REMOVAL_S:.0f} s the machine still has no name, so nobody can tell whose clone it is",
                f"Look at it in Proxmox; if it is a leftover: qm unlock {vmid} && qm destroy {vmid}.",
            )
        pause(_NAME_PAUSE_S)
    return str(name)


def _seed_removed(api: Proxmox, record: Record, pause: Callable[[float], None]) -> str | None:
    if not record.seed_volid or not record.seed_node:
        return None
    volid = record.seed_volid
    removed = image(api, record.seed_node, volid, pause)
    if removed or not record.pending:
        record.note(seed_volid=None)
    return f"seed image {volid}" if removed else None


def _key_removed(record: Record, keys: Keys) -> str | None:
    if not record.key:
        return None
    keys.forget(record.name)
    if record.previous_key:
        keys.accept(record.name, record.previous_key)
    record.note(key=False)
    return f"minion key of {record.name}" + (" (the one before it is accepted again)" if record.previous_key else "")
