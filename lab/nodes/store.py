"""The nodes' disks: a btrfs file system in a sparse file, one subvolume a machine; a clone is a snapshot.

A file system of their own because overlays (the containers' layers) need a real disk below them, and because a snapshot
costs no time and no space.
"""

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from lab.errors import LabError
from lab.paths import Paths
from lab.shell import run

MAXIMUM_GIB = 48
RESERVE_GIB = 4  # left free for everybody else on the disk


class Store:
    """The file system of the nodes.

    Args:
        paths: roots of the lab.
    """

    def __init__(self, paths: Paths) -> None:
        self.image = paths.nodes_image
        self.mount_point = paths.nodes

    def root(self, machine_id: int) -> Path:
        """Root directory of a machine."""
        return self.mount_point / str(machine_id)

    def exists(self, machine_id: int) -> bool:
        """Whether there is such a machine."""
        return self.root(machine_id).is_dir()

    def machine_ids(self) -> list[int]:
        """All machines and templates, in order."""
        return sorted(int(path.name) for path in self.mount_point.glob("*") if path.name.isdigit())

    @property
    def mounted(self) -> bool:
        """Whether the file system is mounted."""
        return os.path.ismount(self.mount_point)

    def mount(self) -> bool:
        """Make the file system if there is none, and mount it.

        Returns:
            Whether it had to be mounted.

        Raises:
            LabError: not enough room, or the file is not a file system.
        """
        if self.mounted:
            return False
        self.mount_point.mkdir(parents=True, exist_ok=True)
        if not self.image.exists():
            self._make()
        # Every key of every node is in it, and whoever reads it needs no permission inside.
        self.image.chmod(0o600)
        # The kernel frees the loop device by itself when the file system is unmounted (autoclear); discarded blocks
        # become holes of the sparse file again.
        run(["mount", "-t", "btrfs", "-o", "loop,noatime,discard=async", self.image, self.mount_point])
        return True

    def unmount(self) -> bool:
        """Unmount the file system.

        Returns:
            Whether it was mounted.
        """
        if not self.mounted:
            return False
        run(["umount", self.mount_point])
        return True

    def remove(self) -> None:
        """Remove the unmounted file system, all machines with it."""
        self.image.unlink(missing_ok=True)
        if self.mount_point.is_dir():
            self.mount_point.rmdir()

    def unpack(self, machine_id: int, archive: Path, origin: str, configure: Callable[[Path], None]) -> bool:
        """Make a machine out of an archive; one of the same origin is left alone.

        Args:
            machine_id: which one.
            archive: the tar archive.
            origin: names all that goes into the machine; it is kept beside it.
            configure: called with the root directory once it is unpacked.

        Returns:
            Whether it was unpacked.

        Raises:
            LabError: the archive cannot be read, or does not fit.
        """
        note = self.mount_point / f"{machine_id}.origin"
        if self.exists(machine_id) and note.exists() and note.read_text() == origin:
            return False
        self.delete(machine_id)
        root = self.root(machine_id)
        run(["btrfs", "subvolume", "create", root])
        run(["tar", "--numeric-owner", "--xattrs", "--acls", "-C", root, "-xf", archive])
        configure(root)
        note.write_text(origin)
        return True

    def snapshot(self, source_id: int, target_id: int) -> None:
        """Make a machine that is a copy of another; the blocks are shared until one of the two writes.

        Raises:
            LabError: no such source, or the target exists.
        """
        if not self.exists(source_id):
            raise LabError(f"machine {source_id} has no disk at {self.root(source_id)}")
        if self.exists(target_id):
            raise LabError(f"machine {target_id} has a disk already, at {self.root(target_id)}")
        run(["btrfs", "subvolume", "snapshot", self.root(source_id), self.root(target_id)])
        # Without an ID of its own a copy would take its source's addresses and journal (machine-id(5)).
        (self.root(target_id) / "etc/machine-id").write_text(secrets.token_hex(16) + "\n")

    def delete(self, machine_id: int) -> None:
        """Delete a machine's disk, if it has one; systemd makes subvolumes of its own inside (/var/lib/machines)."""
        listed = run(["btrfs", "subvolume", "list", self.mount_point]) if self.exists(machine_id) else ""
        for path in subvolumes_of(listed, machine_id):
            run(["btrfs", "subvolume", "delete", self.mount_point / path])
        (self.mount_point / f"{machine_id}.origin").unlink(missing_ok=True)
        for lock in self.mount_point.glob(f".#{machine_id}.lck"):
            lock.unlink()

    def _make(self) -> None:
        free_gib = shutil.disk_usage(self.image.parent).free / 2**30
        size_gib = int(min(MAXIMUM_GIB, free_gib - RESERVE_GIB))
        if size_gib < 2:
            raise LabError(
                f"{self.image.parent}: {free_gib:.1f} GiB free, {RESERVE_GIB} GiB stay free: no room for nodes. "
                "Make room there, or name another directory in SALTERN_STATE"
            )
        partial = self.image.with_suffix(".partial")
        with partial.open("wb") as file:
            file.truncate(size_gib * 2**30)
        run(["mkfs.btrfs", "--quiet", "--label", "saltern-nodes", partial])
        partial.rename(self.image)


def subvolumes_of(listing: str, machine_id: int) -> list[str]:
    """A machine's subvolume and those inside it, innermost first.

    Args:
        listing: output of `btrfs subvolume list`: `ID 260 gen 12 top level 257 path 101/var/lib/machines`.
        machine_id: the machine.

    Returns:
        Paths relative to the file system's top.
    """
    paths = [line.partition(" path ")[2] for line in listing.splitlines()]
    own = [path for path in paths if path == str(machine_id) or path.startswith(f"{machine_id}/")]
    return sorted(own, key=lambda path: path.count("/"), reverse=True)
