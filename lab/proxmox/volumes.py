"""What is on the storages: disk images (records) and uploaded files (real files)."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.proxmox.errors import ApiError, ProxmoxError
from lab.proxmox.settings import Storage
from lab.proxmox.store import Store

CLOUDINIT_BYTES = 4 * 1024**2
# Folder of a directory storage and file name extensions per content.
FOLDERS = {"iso": "template/iso", "vztmpl": "template/cache", "import": "import"}
EXTENSIONS = {
    "iso": (".iso", ".img"),
    "vztmpl": (".tar.gz", ".tar.xz", ".tar.zst"),
    "import": (".ova", ".ovf", ".qcow2", ".raw", ".vmdk"),
}


@dataclass(frozen=True)
class Volume:
    """One volume: ``local-lvm:vm-101-disk-0``; size in bytes, ctime in seconds since the epoch."""

    volid: str
    content: str
    format: str
    size: int
    ctime: int
    vmid: int | None = None
    base: str | None = None

    @property
    def storage(self) -> str:
        """Name of its storage."""
        return self.volid.partition(":")[0]


class Volumes:
    """All volumes of all storages.

    Args:
        storages: the storages.
        store: disk images are the record ``volumes``.
        files: directory of the uploaded files, ``<files>/<storage>/template/iso/x.iso``.
        clock: returns the time in seconds since the epoch.
        is_full: says of a storage, by its name, whether it is to have no room left.
    """

    def __init__(
        self,
        storages: tuple[Storage, ...],
        store: Store,
        files: Path,
        clock: Callable[[], float],
        is_full: Callable[[str], bool] = lambda _storage: False,
    ) -> None:
        self.storages = {storage.name: storage for storage in storages}
        self._store = store
        self._files = files
        self._clock = clock
        self._is_full = is_full
        self._guard = threading.RLock()
        rows: list[dict[str, Any]] = store.load("volumes") or []
        self._images = {row["volid"]: Volume(**row) for row in rows}

    def _save(self) -> None:
        self._store.save("volumes", [asdict(volume) for volume in self._images.values()])

    def storage(self, name: str) -> Storage:
        """Return a storage; raises ProxmoxError for an unknown one."""
        if name not in self.storages:
            raise ProxmoxError(f"storage '{name}' does not exist")
        return self.storages[name]

    def check_content(self, name: str, content: str) -> None:
        """Raise ProxmoxError when a storage does not hold this kind of content."""
        if content not in self.storage(name).content:
            raise ProxmoxError(f"storage '{name}' does not support '{content}' content")

    # -- disk images --------------------------------------------------------------------------------------------------

    def allocate(self, storage: str, vmid: int, size_bytes: int, base: str | None = None) -> Volume:
        """Make a disk of a VM; one with a ``base`` (linked clone) takes no space of its own.

        Raises:
            ProxmoxError: not enough space, or no images on this storage.
        """
        with self._guard:
            self.check_content(storage, "images")
            if base is None:
                self._check_space(storage, size_bytes)
            elif self._is_full(storage):
                raise _no_room_for_clone(self.storage(storage), base)
            return self.add_disk(storage, vmid, size_bytes, base)

    def add_disk(self, storage: str, vmid: int, size_bytes: int, base: str | None = None) -> Volume:
        """Make a disk of a VM without asking for room; it gets the first name that is free, as Proxmox's do."""
        with self._guard:
            names = (f"{storage}:vm-{vmid}-disk-{number}" for number in range(1000))
            volid = next(name for name in names if name not in self._images)
            return self._add(Volume(volid, "images", "raw", size_bytes, int(self._clock()), vmid, base))

    def allocate_cloudinit(self, storage: str, vmid: int) -> Volume:
        """Make (or find) the cloud-init drive of a VM."""
        with self._guard:
            self.check_content(storage, "images")
            volid = f"{storage}:vm-{vmid}-cloudinit"
            old = self._images.get(volid)
            return old or self._add(Volume(volid, "images", "raw", CLOUDINIT_BYTES, int(self._clock()), vmid))

    def add_image(self, volume: Volume) -> None:
        """Add a disk image that was not made by :meth:`allocate`: the template's."""
        with self._guard:
            self._add(volume)

    def _add(self, volume: Volume) -> Volume:
        self._images[volume.volid] = volume
        self._save()
        return volume

    def _check_space(self, storage: str, size_bytes: int) -> None:
        free = self.free_bytes(storage)
        if free < size_bytes:
            raise ProxmoxError(f"not enough free space ({free // 1024} < {size_bytes // 1024})")

    def free_bytes(self, storage: str) -> int:
        """Return the room that is left on a storage."""
        capacity = self.storage(storage).capacity_bytes
        return 0 if self._is_full(storage) else capacity - self.used_bytes(storage)

    def resize(self, volid: str, size_bytes: int) -> None:
        """Grow a disk image; raises ProxmoxError when the space is not there."""
        with self._guard:
            old = self.get(volid)
            self._check_space(old.storage, size_bytes - old.size)
            self._add(Volume(**asdict(old) | {"size": size_bytes}))

    def to_base(self, volid: str) -> str:
        """Rename the disk of a new template to ``base-*`` and return its new volume ID."""
        with self._guard:
            old = self._images.pop(volid)
            return self._add(Volume(**asdict(old) | {"volid": volid.replace(":vm-", ":base-", 1)})).volid

    def move(self, volid: str, storage: str, keep: bool) -> str:
        """Copy a disk to another storage; the source goes unless ``keep``. Returns the new volume ID."""
        with self._guard:
            old = self.get(volid)
            new = self.allocate(storage, old.vmid or 0, old.size)
            if not keep:
                self.remove(volid)
            return new.volid

    def clones_of(self, volid: str) -> list[str]:
        """Return the volumes that need this one as their base."""
        with self._guard:
            return [volume.volid for volume in self._images.values() if volume.base == volid]

    def check_not_base(self, volid: str) -> None:
        """Raise ProxmoxError when linked clones need a volume."""
        if self.clones_of(volid):
            raise ProxmoxError(f"base volume '{volid.partition(':')[2]}' is still in use by linked cloned")

    def remove(self, volid: str) -> None:
        """Remove a volume; one that is gone is no error. Raises ProxmoxError when linked clones need it."""
        with self._guard:
            self.check_not_base(volid)
            if self._images.pop(volid, None) is not None:
                self._save()
            else:
                path = self.file(volid)
                if path is not None:
                    path.unlink(missing_ok=True)

    def of_guest(self, vmid: int) -> list[Volume]:
        """Return the disk images that belong to a VM."""
        with self._guard:
            return [volume for volume in self._images.values() if volume.vmid == vmid]

    # -- files --------------------------------------------------------------------------------------------------------

    def folder(self, storage: str, content: str) -> Path:
        """Return the directory of a storage's files of one kind."""
        return self._files / storage / FOLDERS[content]

    def file(self, volid: str) -> Path | None:
        """Return where the file of a volume like ``local:iso/x.iso`` is, whether it exists or not; None for images."""
        match = re.fullmatch(r"([\w.-]+):(iso|vztmpl|import)/([^/]+)", volid)
        if match is None or match[1] not in self.storages or match[3] in (".", ".."):
            return None
        return self.folder(match[1], match[2]) / match[3]

    def _file_volumes(self, storage: str) -> list[Volume]:
        found = []
        for content in self.storages[storage].content:
            if content not in FOLDERS:
                continue
            for path in sorted(self.folder(storage, content).glob("[!.]*")):
                status = path.stat()
                kind = {"iso": "iso"}.get(content, path.suffix.lstrip("."))
                found.append(
                    Volume(f"{storage}:{content}/{path.name}", content, kind, status.st_size, int(status.st_mtime))
                )
        return found

    # -- both ---------------------------------------------------------------------------------------------------------

    def list(self, storage: str) -> list[Volume]:
        """Return all volumes of a storage, sorted."""
        with self._guard:
            images = [volume for volume in self._images.values() if volume.storage == storage]
        return sorted([*images, *self._file_volumes(storage)], key=lambda volume: volume.volid)

    def get(self, volid: str) -> Volume:
        """Return a volume; raises ProxmoxError when it does not exist."""
        storage = volid.partition(":")[0]
        if storage not in self.storages:
            raise ProxmoxError(f"storage '{storage}' does not exist")
        for volume in self.list(storage):
            if volume.volid == volid:
                return volume
        raise ProxmoxError(f"volume '{volid}' does not exist")

    def used_bytes(self, storage: str) -> int:
        """Return what the volumes of a storage take; linked clones take nothing."""
        return sum(volume.size for volume in self.list(storage) if volume.base is None)

    def check_room(self, storage: str, path: Path, size_bytes: int) -> None:
        """Raise ProxmoxError, in the words of the copying command, when a file does not fit on a storage."""
        if self.free_bytes(storage) < size_bytes:
            raise ProxmoxError(f"import failed: cp: error writing '{path}': No space left on device")

    def check_upload(self, storage: str, content: str, filename: str) -> None:
        """Raise ProxmoxError or the 400 unless a file may be uploaded as this content."""
        self.check_content(storage, content)
        if not filename.lower().endswith(EXTENSIONS[content]):
            raise ApiError(400, "Parameter verification failed.", errors={"filename": "wrong file extension"})


def _no_room_for_clone(storage: Storage, base: str) -> ProxmoxError:
    """Return the error of a linked clone, whose own space is taken only as it is written to: LVM looks ahead."""
    volume = base.partition(":")[2]
    if storage.kind == "lvmthin":
        why = "Cannot create new thin volume, free space in thin pool pve/data reached threshold."
        return ProxmoxError(f"clone image 'pve/{volume}' error:   {why}")
    return ProxmoxError(f"unable to create image: {volume}: No space left on device")
