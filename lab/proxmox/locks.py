"""The file locks of Proxmox, as far as clients can see them: who waits too long is told which lock it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lab.proxmox.errors import ProxmoxError


class SharedLock:
    """A lock that many readers or one writer hold; it belongs to nobody's thread, so a call can hand it to its task."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._readers = 0
        self._writer = False

    def acquire(self, timeout_s: float, shared: bool = False) -> bool:
        """Wait up to ``timeout_s`` for the lock and say whether it was got."""
        with self._condition:
            got = self._condition.wait_for(lambda: self._is_free(shared), timeout_s)
            if got and shared:
                self._readers += 1
            elif got:
                self._writer = True
            return got

    def _is_free(self, shared: bool) -> bool:
        return not self._writer and (shared or not self._readers)

    def release(self) -> None:
        """Give the lock back: the writer's when there is one, else one reader's."""
        with self._condition:
            if self._writer:
                self._writer = False
            else:
                self._readers -= 1
            self._condition.notify_all()


class Locks:
    """All locks by name: one for each VM's configuration, one with ``slots`` places for each storage."""

    def __init__(self, storage_slots: int) -> None:
        self._slots = storage_slots
        self._guard = threading.Lock()
        self._guests: dict[int, SharedLock] = {}
        self._storages: dict[str, threading.Semaphore] = {}

    def acquire_guest(self, vmid: int, timeout_s: float, shared: bool = False) -> SharedLock:
        """Return the lock of a VM's configuration, held; the caller releases it.

        Raises:
            ProxmoxError: it was not free within ``timeout_s``.
        """
        with self._guard:
            lock = self._guests.setdefault(vmid, SharedLock())
        if not lock.acquire(timeout_s, shared):
            raise guest_lock_timeout(vmid)
        return lock

    @contextmanager
    def guest(self, vmid: int, timeout_s: float, shared: bool = False) -> Iterator[None]:
        """Hold the lock of a VM's configuration for a block; see :meth:`acquire_guest`."""
        lock = self.acquire_guest(vmid, timeout_s, shared)
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def storage(self, name: str, shared_storage: bool, timeout_s: float) -> Iterator[None]:
        """Hold one place of a storage's allocation lock for a block; ProxmoxError when none gets free in time."""
        with self._guard:
            places = self._storages.setdefault(name, threading.Semaphore(self._slots))
        if not places.acquire(timeout=timeout_s):
            raise storage_lock_timeout(name, shared_storage)
        try:
            yield
        finally:
            places.release()


def guest_lock_timeout(vmid: int) -> ProxmoxError:
    """Return the error of who waited too long for a VM's configuration."""
    return ProxmoxError(f"can't lock file '/var/lock/qemu-server/lock-{vmid}.conf' - got timeout")


def storage_lock_timeout(name: str, shared_storage: bool) -> ProxmoxError:
    """Return the error of who waited too long for a storage; a shared one's lock is the cluster's."""
    if shared_storage:
        return ProxmoxError(f"cfs-lock 'storage-{name}' error: got lock request timeout")
    return ProxmoxError(f"can't lock file '/var/lock/pve-manager/pve-storage-{name}' - got timeout")
