"""
Whether there is room for what will be put on this machine's disks. Reads only.
"""

import os
from pathlib import Path

# File systems need some of a disk for themselves, and partitions for booting some more.
DISK_SHARE = 0.8

# Binaries, container images and etcd of a fresh node; the kubelet evicts pods below a tenth of the disk. MiB.
DISK_MIB = {"control_plane": 4096, "worker": 4096, "load_balancer": 512}
# What a node that holds all that needs to go on: logs, records, a replaced binary. MiB.
MEMBER_DISK_MIB = 512
# The transfers of all artefacts at once. MiB.
DOWNLOADS_MIB = 1024
# Files of the images of a fresh node: Debian's and Cilium's userlands are the largest of them.
INODES = {"control_plane": 60_000, "worker": 60_000, "load_balancer": 2_000}
MEMBER_INODES = 2_000


def findings(role, begun):
    """
    Report file systems that are too small, too full or read-only.

    role
        The node's role.
    begun
        Whether an init or join has begun here: then the images and binaries are there.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_disk.findings control_plane False
    """
    # A container's disk is its host's.
    own = not begun and not __salt__["node_facts.container"]()
    return [*room(role, begun), *(size() if own else [])]


def room(role, begun):
    """
    Report file systems with too little room or too few inodes for what will be put there, and read-only ones.

    role
        The node's role.
    begun
        Whether an init or join has begun here: then the images and binaries are there.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_disk.room control_plane False
    """
    paths = __pillar__["saltern"]["paths"]
    room, inodes = (MEMBER_DISK_MIB, MEMBER_INODES) if begun else (DISK_MIB[role], INODES[role])
    needs = {paths["sandbox"]: room, "/var": 0, "/etc": 0}
    if role != "load_balancer" and not begun:
        needs[paths["work"]] = DOWNLOADS_MIB
    found = []
    for places in _by_file_system(needs).values():
        # What lies on one file system has to fit into it together.
        needed_mib = sum(needs[place] for place in places)
        found += _disk(existing(places[0]), needed_mib, inodes if paths["sandbox"] in places else 0)
    return found


def _by_file_system(paths):
    """{device: [paths that lie, or will lie, on it]}."""
    found = {}
    for path in paths:
        found.setdefault(Path(existing(path)).stat().st_dev, []).append(path)
    return found


def _disk(path, needed_mib, needed_inodes):
    """What is wrong with the file system of one path."""
    facts, top = os.statvfs(path), _mount_point(path)
    free_mib = facts.f_bavail * facts.f_frsize // 2**20
    on = f"on {__opts__['id']}:"
    if facts.f_flag & os.ST_RDONLY:
        why = "nothing can be installed there; the kernel does that to a file system with errors"
        remedy = f"{on} dmesg | grep -i -E 'error|remount'; check the disk, then: mount -o remount,rw {top}"
        return [_finding("disk-read-only", f"{top} is mounted read-only", str(path), why, remedy)]
    if free_mib < needed_mib:
        why = f"{needed_mib} MiB are needed for binaries, images and logs"
        remedy = f"{on} free some (du -xh --max-depth=2 {top} | sort -h | tail), or enlarge the disk"
        return [_finding("disk-full", f"{free_mib} MiB free", str(path), why, remedy)]
    # btrfs makes inodes as they are needed and counts none.
    if facts.f_files and facts.f_favail < needed_inodes:
        why = f"{needed_inodes} are needed for the files of binaries and images"
        remedy = f"{on} remove small files (du --inodes -x --max-depth=2 {top} | sort -n | tail), or enlarge the disk"
        return [_finding("disk-full", f"{facts.f_favail} inodes free", str(path), why, remedy)]
    return []


def _mount_point(path):
    path = Path(path)
    while not path.is_mount():
        path = path.parent
    return path


def existing(path):
    """
    Give the path, or the nearest directory above it that is there, as text.

    path
        An absolute path.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_disk.existing /opt/sandbox
    """
    path = Path(path)
    while not path.exists():
        path = path.parent
    return str(path)


def size():
    """
    Report a root file system that is much smaller than the row's disk: it was not grown after the clone.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_disk.size
    """
    pillar, root = __pillar__["saltern"], Path("/")
    if Path(existing(pillar["paths"]["sandbox"])).stat().st_dev != root.stat().st_dev:
        return []  # a disk of its own, of a size that the row does not tell
    facts, row_gib = os.statvfs(root), pillar["node"].get("disk_gib", 0)
    size_gib = facts.f_blocks * facts.f_frsize / 2**30
    if size_gib >= row_gib * DISK_SHARE:
        return []
    what = f"the root file system has {size_gib:.1f} GiB"
    why = f"its row says {row_gib} GiB; cloud-init grows the file system at the first boot, and here it did not"
    remedy = (
        f"on {__opts__['id']}: lsblk; growpart DISK PARTITION; resize2fs PARTITION (or xfs_growfs /); "
        "or correct disk_gib in its row"
    )
    return [_finding("disk-too-small", what, "/", why, remedy)]


def _finding(*words):
    return __salt__["preflight.finding"](*words)
