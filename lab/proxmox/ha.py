"""VMs that the HA manager looks after: start and stop are requests to it, carried out later."""

from __future__ import annotations

import threading
from typing import Any

from lab.proxmox.errors import ProxmoxError
from lab.proxmox.store import Store


class HighAvailability:
    """The managed resources, kept as the record ``ha``: ``{"vm:101": {"state": "started", "comment": ""}}``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._guard = threading.RLock()
        self._resources: dict[str, dict[str, Any]] = store.load("ha") or {}

    def all(self) -> list[dict[str, Any]]:
        """Return the rows of the resource list."""
        with self._guard:
            return [{"sid": sid, "type": "vm"} | row for sid, row in sorted(self._resources.items())]

    def get(self, sid: str) -> dict[str, Any]:
        """Return the row of one resource; raises ProxmoxError for an unknown one."""
        with self._guard:
            if sid not in self._resources:
                raise ProxmoxError(f"no such resource '{sid}'")
            return {"sid": sid, "type": "vm"} | self._resources[sid]

    def is_managed(self, vmid: int) -> bool:
        """Say whether a VM is a managed resource."""
        return f"vm:{vmid}" in self._resources

    def add(self, sid: str, row: dict[str, Any]) -> None:
        """Add a resource; raises ProxmoxError when it is one."""
        with self._guard:
            if sid in self._resources:
                raise ProxmoxError(f"resource ID '{sid}' already defined")
            self._resources[sid] = row
            self._store.save("ha", self._resources)

    def change(self, sid: str, row: dict[str, Any]) -> None:
        """Change fields of a resource."""
        with self._guard:
            self.get(sid)
            self._resources[sid] |= row
            self._store.save("ha", self._resources)

    def remove(self, sid: str) -> None:
        """Stop managing a resource; raises ProxmoxError for an unknown one."""
        with self._guard:
            self.get(sid)
            del self._resources[sid]
            self._store.save("ha", self._resources)
