"""The nodes' places in the cgroup tree, where the lab has to make them itself.

With systemd as PID 1 there is nothing to do: systemd-nspawn asks it for a scope. Without it each node gets a cgroup of
its own, in every hierarchy of version 1, or in the unified one.
"""

import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from lab import processes
from lab.errors import LabError
from lab.host import Host
from lab.processes import Process

PARENT = "saltern-lab"
CPU_PERIOD_US = 100_000
REMOVE_DEADLINE_S = 10


@dataclass(frozen=True)
class Limits:
    """What a node may use.

    Attributes:
        memory_bytes: memory, without swap.
        cores: processors.
    """

    memory_bytes: int
    cores: int


class Cgroups:
    """The cgroups of the lab's nodes.

    Args:
        host: tells whether the lab makes them, and which version is in use.
        mounts: content of /proc/self/mounts; without it, the machine's own.
    """

    def __init__(self, host: Host, mounts: str | None = None) -> None:
        self.host = host
        text = Path("/proc/self/mounts").read_text() if mounts is None else mounts
        self.hierarchies = hierarchies(text)

    def create(self, node: str, limits: Limits) -> list[Path]:
        """Make the cgroups of a node.

        Args:
            node: its name among the lab's cgroups.
            limits: what it may use.

        Returns:
            The files that a process writes its PID to in order to be in them; none where systemd does it.

        Raises:
            LabError: the kernel refuses.
        """
        if not self.host.manages_cgroups:
            return []
        try:
            places = [self._create_in(hierarchy, node) for hierarchy in self.hierarchies]
            for place in places:
                self._limit(place, limits)
        except OSError as err:
            raise LabError(
                f"cgroup of {node}: {err.filename or ''}: {err.strerror}. A node needs one in each hierarchy. "
                "Type `make down`, then `make up`; in a container, start it as privileged"
            ) from err
        return [place / "cgroup.procs" for place in places]

    def remove(self, node: str) -> None:
        """End what still runs in a node's cgroups, and remove them."""
        for hierarchy in self.hierarchies:
            top = hierarchy / PARENT / node
            if top.is_dir():
                _empty(top)
                _remove_tree(top)

    def remove_all(self) -> list[str]:
        """Remove the cgroups of all nodes, and the lab's own parent.

        Returns:
            The names of the nodes that had any.
        """
        nodes = sorted({path.name for parent in self._parents() for path in parent.iterdir() if path.is_dir()})
        for node in nodes:
            self.remove(node)
        for parent in self._parents():
            parent.rmdir()
        return nodes

    def _parents(self) -> list[Path]:
        return [hierarchy / PARENT for hierarchy in self.hierarchies if (hierarchy / PARENT).is_dir()]

    def _create_in(self, hierarchy: Path, node: str) -> Path:
        parent, place = hierarchy / PARENT, hierarchy / PARENT / node
        for directory, above in ((parent, hierarchy), (place, parent)):
            if (above / "cgroup.subtree_control").exists():
                _delegate(above)
            directory.mkdir(exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):
                # A new cpuset of version 1 is empty, and takes no process until it has both.
                if (directory / name).exists() and not (directory / name).read_text().strip():
                    (directory / name).write_text((above / name).read_text())
        clone = place / "cgroup.clone_children"
        if clone.exists() and (place / "cpuset.cpus").exists():
            clone.write_text("1")
        return place

    def _limit(self, place: Path, limits: Limits) -> None:
        values = {
            "memory.limit_in_bytes": str(limits.memory_bytes),
            "memory.max": str(limits.memory_bytes),
            "cpu.cfs_quota_us": str(limits.cores * CPU_PERIOD_US),
            "cpu.max": f"{limits.cores * CPU_PERIOD_US} {CPU_PERIOD_US}",
        }
        for name, value in values.items():
            # A limit at or above what the machine has only costs time.
            machine = self.host.cores <= limits.cores if name.startswith("cpu") else self._memory_suffices(limits)
            if (place / name).exists() and not machine:
                (place / name).write_text(value)

    def _memory_suffices(self, limits: Limits) -> bool:
        return self.host.memory_mib * 2**20 <= limits.memory_bytes


def hierarchies(mounts: str) -> list[Path]:
    """Where cgroup hierarchies are mounted below /sys/fs/cgroup.

    Args:
        mounts: content of /proc/self/mounts.
    """
    entries = [line.split() for line in mounts.splitlines()]
    places = [Path(entry[1]) for entry in entries if len(entry) > 2 and entry[2] in ("cgroup", "cgroup2")]
    return list(dict.fromkeys(place for place in places if str(place).startswith("/sys/fs/cgroup")))


def procs_files_of(pid: int, places: list[Path]) -> list[Path]:
    """The `cgroup.procs` files of the cgroups that a process is in.

    Args:
        pid: the process.
        places: mount points of the hierarchies.

    Returns:
        One file a hierarchy; those that are not mounted are left out.
    """
    found = []
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        name = controllers.removeprefix("name=") or "unified"
        for place in places:
            if place.name in (name, *name.split(",")) or (not controllers and place == Path("/sys/fs/cgroup")):
                found.append(place / path.lstrip("/") / "cgroup.procs")
                break
    return [file for file in found if file.exists()]


def _delegate(above: Path) -> None:
    """Let the children of a cgroup of version 2 have the controllers that it has itself."""
    available = (above / "cgroup.controllers").read_text().split()
    if available:
        (above / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in available))


def _empty(top: Path) -> None:
    """End every process in a cgroup and below it; what is there is the node's own, whatever its PID."""
    for file in top.rglob("cgroup.procs"):
        for process in filter(None, (Process.of(int(pid)) for pid in file.read_text().split())):
            processes.end(process, signal.SIGKILL)


def _remove_tree(top: Path) -> None:
    """Remove a cgroup and those below it, innermost first."""
    for folder, _, _ in os.walk(top, topdown=False):
        _remove_one(Path(folder))


def _remove_one(place: Path) -> None:
    deadline = time.monotonic() + REMOVE_DEADLINE_S
    while True:
        try:
            place.rmdir()
            return
        except OSError as err:
            # A process leaves its cgroups only when its parent has taken note of its end, a moment later.
            if err.errno != errno.EBUSY or time.monotonic() > deadline:
                raise LabError(
                    f"{place}: {err.strerror}: processes of a node are still in there. See {place}/cgroup.procs, "
                    "then type the command again"
                ) from err
            time.sleep(0.02)
