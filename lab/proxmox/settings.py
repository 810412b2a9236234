"""What an installation of the emulator may choose, with the lab's values as defaults."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GIB = 1024**3


class SettingsError(Exception):
    """The settings file is not understood; the text names file and key."""


@dataclass(frozen=True)
class Node:
    """One Proxmox node of the emulated cluster: name, address and what it claims to have (bytes)."""

    name: str
    address: str = "192.168.100.1"
    cpus: int = 16
    memory_bytes: int = 128 * GIB


@dataclass(frozen=True)
class Storage:
    """One storage: content is a tuple of ``images``, ``iso``, ``vztmpl``, ``import``; capacity in bytes."""

    name: str
    kind: str
    content: tuple[str, ...]
    capacity_bytes: int
    shared: bool = False


@dataclass(frozen=True)
class Template:
    """The VM that is there from the start."""

    vmid: int = 9000
    name: str = "debian-12-saltern"
    disk_bytes: int = 4 * GIB
    disk_device: str = "scsi0"
    bridge: str = "vmbr0"


@dataclass(frozen=True)
class Durations:
    """Least time in seconds that each kind of task takes; the work itself may take longer."""

    config_s: float = 0.1
    linked_clone_s: float = 1.0
    full_clone_s: float = 3.0
    start_s: float = 0.5
    stop_s: float = 0.3
    destroy_s: float = 0.3
    resize_s: float = 0.2
    other_s: float = 0.3
    ha_reaction_s: float = 2.0


@dataclass(frozen=True)
class Limits:
    """Time-outs and delays that clients see, in seconds, and how many allocations a storage does at once."""

    guest_lock_s: float = 10.0
    clone_lock_s: float = 1.0
    storage_lock_s: float = 10.0
    storage_slots: int = 1
    shutdown_s: float = 60.0
    agent_s: float = 3.0
    unauthorized_s: float = 3.0
    statistics_s: float = 10.0
    ticket_s: float = 7200.0
    stop_grace_s: float = 20.0


@dataclass(frozen=True)
class Settings:
    """Everything that the emulator is told at its start; ``load`` reads it from JSON."""

    nodes: tuple[Node, ...] = (Node("pve"),)
    storages: tuple[Storage, ...] = (
        Storage("local", "dir", ("iso", "vztmpl", "import"), 100 * GIB),
        Storage("local-lvm", "lvmthin", ("images",), 500 * GIB),
    )
    template: Template = field(default_factory=Template)
    durations: Durations = field(default_factory=Durations)
    limits: Limits = field(default_factory=Limits)
    cluster_name: str = "lab"
    version: str = "9.1.6"

    @property
    def local_node(self) -> Node:
        """The node whose address the clients contact: the first one."""
        return self.nodes[0]


def load(path: Path | None) -> Settings:
    """Read settings from a JSON file; without one, the defaults.

    Args:
        path: file such as ``{"template": {"vmid": 9000, "name": "debian-12"}, "durations": {"start_s": 2}}``; sections
            and keys are the fields of the classes in this module.

    Raises:
        SettingsError: not JSON, or an unknown section or key.
    """
    if path is None:
        return Settings()
    try:
        return from_mapping(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as err:
        raise SettingsError(f"{path}: {err}; lab/proxmox/settings.py says which keys exist") from err


def from_mapping(data: dict[str, Any]) -> Settings:
    """Build settings from plain data (the parsed JSON of :func:`load`); raises TypeError on an unknown key."""
    changes = dict(data)
    if "nodes" in changes:
        changes["nodes"] = tuple(Node(**row) for row in changes["nodes"])
    if "storages" in changes:
        changes["storages"] = tuple(Storage(**row | {"content": tuple(row["content"])}) for row in changes["storages"])
    for section, kind in (("template", Template), ("durations", Durations), ("limits", Limits)):
        if section in changes:
            changes[section] = kind(**changes[section])
    return dataclasses.replace(Settings(), **changes)
