"""Resource pools: named groups of VMs and storages that access lists can refer to."""

from __future__ import annotations

import re
import threading
from typing import Any

from lab.proxmox.errors import ProxmoxError
from lab.proxmox.store import Store


class Pools:
    """All pools, kept as the record ``pools``: ``{poolid: {"comment": "", "vms": [101], "storages": ["local"]}}``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._guard = threading.RLock()
        self._pools: dict[str, dict[str, Any]] = store.load("pools") or {}

    def _save(self) -> None:
        self._store.save("pools", self._pools)

    def names(self) -> list[str]:
        """Return the names of all pools, sorted."""
        return sorted(self._pools)

    def get(self, name: str) -> dict[str, Any]:
        """Return a pool; raises ProxmoxError for an unknown one."""
        if name not in self._pools:
            raise ProxmoxError(f"pool '{name}' does not exist")
        return self._pools[name]

    def add(self, name: str, comment: str) -> None:
        """Add an empty pool; raises ProxmoxError when it exists."""
        with self._guard:
            if name in self._pools:
                raise ProxmoxError(f"create pool failed: pool '{name}' already exists")
            self._pools[name] = {"comment": comment, "vms": [], "storages": []}
            self._save()

    def remove(self, name: str) -> None:
        """Remove an empty pool; raises ProxmoxError when it is not, or does not exist."""
        with self._guard:
            pool = self.get(name)
            if pool["vms"] or pool["storages"]:
                raise ProxmoxError(f"delete pool failed: pool '{name}' is not empty")
            del self._pools[name]
            self._save()

    def of_guest(self, vmid: int) -> str | None:
        """Return the pool of a VM, or None; a VM is in one pool at most."""
        return next((name for name, pool in self._pools.items() if vmid in pool["vms"]), None)

    def set_comment(self, name: str, comment: str) -> None:
        """Change the comment of a pool."""
        with self._guard:
            self.get(name)["comment"] = comment
            self._save()

    def add_guest(self, name: str, vmid: int) -> None:
        """Put a VM into a pool; raises ProxmoxError when it is in one."""
        with self._guard:
            pool = self.get(name)
            if self.of_guest(vmid) is not None:
                raise ProxmoxError(f"update pools failed: VM {vmid} is already a pool member")
            pool["vms"].append(vmid)
            self._save()

    def remove_guest(self, vmid: int) -> None:
        """Take a VM out of its pool, if it has one."""
        with self._guard:
            for pool in self._pools.values():
                pool["vms"] = [member for member in pool["vms"] if member != vmid]
            self._save()

    def change_storages(self, name: str, add: list[str], remove: list[str]) -> None:
        """Put storages into a pool and take others out."""
        with self._guard:
            pool = self.get(name)
            pool["storages"] = sorted((set(pool["storages"]) | set(add)) - set(remove))
            self._save()

    def of_path(self, path: str) -> list[str]:
        """Return the pools whose rights hold on ``/vms/101`` or ``/storage/local`` too."""
        match = re.fullmatch(r"/(vms|storage)/([^/]+)", path)
        if match is None:
            return []
        key, member = ("vms", int(match[2])) if match[1] == "vms" and match[2].isdigit() else ("storages", match[2])
        with self._guard:
            return [name for name, pool in self._pools.items() if member in pool[key]]
