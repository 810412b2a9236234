"""What this machine can do, and what the lab does differently because of it.

The one place that looks: every other part of the lab asks the `Host` found here. Nothing is assumed about the machine.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lab.artefacts import inventory, prerequisites
from lab.paths import Paths

CAP_SYS_ADMIN = 21  # numbers of include/uapi/linux/capability.h
CAP_NET_ADMIN = 12
CAP_SYS_RESOURCE = 24
NEEDED_FILESYSTEMS = ("btrfs", "overlay", "bpf")
SUPPORTED_OS = ("debian", "12")

DISK_FOR_STATE_GIB = 24  # eight nodes with their images take about 20 GiB
DISK_FOR_CACHE_GIB = 4  # artefacts, images, packages and the template, once built
MEMORY_GIB = 7  # the lab's eight nodes take 4 to 6 GiB, its services 1


class Finding(NamedTuple):
    """Something that keeps the lab from running here."""

    what: str
    where: str
    why: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.why}. {self.remedy}"


@dataclass(frozen=True)
class Host:
    """The facts about a machine.

    Attributes:
        root: whether we run as root.
        os: ID and VERSION_ID of os-release.
        systemd: whether systemd is PID 1.
        cgroup_version: 2 when the controllers are in the unified hierarchy, else 1.
        capabilities: bit mask of what root may here (effective and bounding).
        kernel: those of the file systems and modules asked for that the kernel has, or has a module for.
        cores: processors.
        memory_mib: memory in MiB.
        free_state_gib: free space where the state lives, in GiB.
        free_cache_gib: free space where the cache lives, in GiB.
        same_disk: whether both are one file system.
        loop: whether /dev/loop-control is there.
        kmsg: whether /dev/kmsg is there (the kubelet reads it).
        modules_dir: /lib/modules/<release>, when there are modules to load.
        kernel_config: the file that says what the kernel was built with, when there is one.
    """

    root: bool
    os: tuple[str, str]
    systemd: bool
    cgroup_version: int
    capabilities: int
    kernel: frozenset[str]
    cores: int
    memory_mib: int
    free_state_gib: float
    free_cache_gib: float
    same_disk: bool
    loop: bool
    kmsg: bool
    modules_dir: Path | None
    kernel_config: Path | None

    def may(self, capability: int) -> bool:
        """Whether root has a capability here."""
        return bool(self.capabilities >> capability & 1)

    @property
    def needs_runc_shim(self) -> bool:
        """Without CAP_SYS_RESOURCE runc fails on negative oomScoreAdj and on that capability: a shim drops both."""
        return not self.may(CAP_SYS_RESOURCE)

    @property
    def manages_cgroups(self) -> bool:
        """Whether the lab makes the nodes' cgroups itself; systemd as PID 1 gives systemd-nspawn a scope."""
        return not self.systemd

    @property
    def kubelet_config(self) -> dict[str, object]:
        """What KubeletConfiguration needs here beyond the product's own; usually nothing."""
        return {"failCgroupV1": False} if self.cgroup_version == 1 else {}

    @property
    def ignored_preflight_errors(self) -> list[str]:
        """The checks of kubeadm that cannot pass here; usually none.

        SystemVerification refuses cgroup v1, and a kernel of which nothing says what it was built with.
        """
        errors = []
        if self.cgroup_version == 1 or self.kernel_config is None:
            errors.append("SystemVerification")
        if self.cores < 2:
            errors.append("NumCPU")
        if "br_netfilter" not in self.kernel:
            errors.append("FileContent--proc-sys-net-bridge-bridge-nf-call-iptables")
        return errors


def detect(paths: Paths, root: Path = Path("/")) -> Host:
    """Look at the machine.

    Args:
        paths: where state and cache will be (the disk below them is measured).
        root: the directory that holds /proc, /sys, /etc and /dev (tests give one of their own).

    Returns:
        The facts.
    """
    state, cache = _nearest(paths.state), _nearest(paths.cache)
    release = (root / "proc/sys/kernel/osrelease").read_text().strip()
    modules = root / "lib/modules" / release
    return Host(
        root=os.geteuid() == 0,
        os=_operating_system((root / "etc/os-release").read_text()),
        systemd=(root / "run/systemd/system").is_dir(),
        cgroup_version=_cgroup_version((root / "proc/self/mounts").read_text()),
        capabilities=_capabilities((root / "proc/self/status").read_text()),
        kernel=_kernel_features(root, modules),
        cores=len(os.sched_getaffinity(0)),
        memory_mib=_memory_mib((root / "proc/meminfo").read_text()),
        free_state_gib=_free_gib(state),
        free_cache_gib=_free_gib(cache),
        same_disk=state.stat().st_dev == cache.stat().st_dev,
        loop=(root / "dev/loop-control").exists(),
        kmsg=(root / "dev/kmsg").exists(),
        modules_dir=modules if modules.is_dir() else None,
        kernel_config=_kernel_config(root, release),
    )


def requirements(host: Host, paths: Paths) -> list[Finding]:
    """Everything that keeps the lab from running on this machine, all at once.

    Args:
        host: the facts about the machine.
        paths: state and cache, for the texts; what they hold already needs no more room.

    Returns:
        The findings; empty when the lab can run.
    """
    findings = [*_system_findings(host), *_kernel_findings(host), *_disk_findings(host, paths)]
    if host.memory_mib < MEMORY_GIB * 1024:
        findings.append(
            Finding(
                f"{host.memory_mib / 1024:.1f} GiB of memory, {MEMORY_GIB} GiB needed",
                "memory",
                "Eight nodes run their whole Kubernetes in it",
                "Give the machine more memory",
            )
        )
    return findings


def _system_findings(host: Host) -> list[Finding]:
    findings = []
    if not host.root:
        findings.append(
            Finding("not root", "user", "The lab makes namespaces, mounts and cgroups", "Type `sudo make up`")
        )
    if host.os != SUPPORTED_OS:
        findings.append(
            Finding(
                f"{' '.join(host.os)} is not Debian 12",
                "operating system",
                "The lab takes its tools from Debian 12's packages",
                "Use a Debian 12 machine, or point the product at a real Proxmox VE: docs/production.md",
            )
        )
    return findings


def _kernel_findings(host: Host) -> list[Finding]:
    findings = []
    for name, number in (("CAP_SYS_ADMIN", CAP_SYS_ADMIN), ("CAP_NET_ADMIN", CAP_NET_ADMIN)):
        if not host.may(number):
            findings.append(
                Finding(
                    f"root lacks {name}",
                    "capabilities",
                    "Nodes are system containers with a network of their own",
                    "Run on a machine of its own, or in a container started as privileged",
                )
            )
    for name in NEEDED_FILESYSTEMS:
        if name not in host.kernel:
            findings.append(
                Finding(
                    f"no {name} in this kernel, nor a module for it",
                    "kernel",
                    "Nodes are btrfs snapshots, containers are overlays, Cilium is BPF",
                    "Use Debian's own kernel (package linux-image-amd64)",
                )
            )
    if not host.loop:
        findings.append(
            Finding("/dev/loop-control is missing", "kernel", "The nodes' disk is a file", "Type `modprobe loop`")
        )
    return findings


def _disk_findings(host: Host, paths: Paths) -> list[Finding]:
    """State and cache on one disk share its room: Go's caches are dropped before the nodes get theirs."""
    state_gib = 0.0 if paths.nodes_image.exists() else float(DISK_FOR_STATE_GIB)
    building_gib, kept_gib = _cache_needs_gib(paths)
    building = f"Building the artefacts takes {building_gib:.0f} GiB until it ends"
    kept = "Nodes, images and artefacts are kept there"
    if host.same_disk:
        both_gib = kept_gib + state_gib
        why = building if building_gib > both_gib else kept
        needed = [(paths.state, host.free_state_gib, max(building_gib, both_gib), why)]
    else:
        needed = [
            (paths.state, host.free_state_gib, state_gib, kept),
            (paths.cache, host.free_cache_gib, building_gib, building),
        ]
    return [
        Finding(
            f"{free_gib:.1f} GiB free, {need_gib:.0f} GiB needed",
            f"disk below {where}",
            why,
            "Make room, or name a directory on another disk in SALTERN_STATE and SALTERN_CACHE",
        )
        for where, free_gib, need_gib, why in needed
        if free_gib < need_gib
    ]


def _cache_needs_gib(paths: Paths) -> tuple[float, float]:
    """Free space that the cache needs while it is filled, and when it has been (less, where Go's caches were).

    Whether the vendors' sites answer, so that nothing has to be built, is not known yet: the build is counted.
    """
    if inventory.completed(paths.cache):
        return 0.0, 0.0
    held_gib = prerequisites.held_by_build_gib(paths.cache / "go")
    return prerequisites.disk_for_build_gib(held_gib), DISK_FOR_CACHE_GIB - held_gib


def _operating_system(text: str) -> tuple[str, str]:
    """ID and VERSION_ID of an os-release file (os-release(5))."""
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return fields.get("ID", "unknown").strip('"'), fields.get("VERSION_ID", "").strip('"')


def _cgroup_version(mounts: str) -> int:
    """1 when any controller is mounted apart (a hybrid counts as 1: the kubelet sees the controllers there)."""
    kinds = {fields[2]: fields[3] for fields in (line.split() for line in mounts.splitlines()) if len(fields) > 3}
    return 1 if "cgroup" in kinds else 2


def _capabilities(status: str) -> int:
    masks = {
        key: int(value, 16) for key, _, value in (line.partition(":\t") for line in status.splitlines()) if "Cap" in key
    }
    return masks["CapEff"] & masks["CapBnd"]


def _kernel_features(root: Path, modules: Path) -> frozenset[str]:
    """Those of the wanted features that are in the kernel, or in a module that can be loaded."""
    registered = {line.split()[-1] for line in (root / "proc/filesystems").read_text().splitlines() if line.split()}
    lists = [modules / "modules.builtin", modules / "modules.dep"]
    listed = {
        Path(line.split(":")[0]).name.split(".")[0].replace("-", "_")
        for path in lists
        if path.exists()
        for line in path.read_text().splitlines()
    }
    present = registered | listed
    if (root / "proc/sys/net/bridge").is_dir():
        present |= {"br_netfilter"}
    return frozenset(present & {*NEEDED_FILESYSTEMS, "br_netfilter"})


def _kernel_config(root: Path, release: str) -> Path | None:
    """The first of the usual places that is there. Source: k8s.io/system-validators, kernel_validator.go."""
    places = (root / "proc/config.gz", root / f"boot/config-{release}", root / f"lib/modules/{release}/config")
    return next((place for place in places if place.is_file()), None)


def _memory_mib(meminfo: str) -> int:
    """MemTotal in MiB; /proc/meminfo counts in KiB (proc(5))."""
    total = next(line for line in meminfo.splitlines() if line.startswith("MemTotal:"))
    return int(total.split()[1]) // 1024


def _nearest(path: Path) -> Path:
    """The nearest directory that exists, from a path upwards."""
    return next(place for place in (path, *path.parents) if place.is_dir())


def _free_gib(path: Path) -> float:
    free = os.statvfs(path)
    return free.f_bavail * free.f_frsize / 2**30
