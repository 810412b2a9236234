"""
Whether the running kernel has what Kubernetes and Cilium need: version, modules, features, cgroups. Reads only.
"""

import gzip
import platform
import re
from pathlib import Path

# https://docs.cilium.io/en/v1.20/operations/system_requirements: 5.10, or its equivalent on RHEL 8.
KERNEL = (5, 10)
UPDATE = "install a newer kernel of the distribution and reboot (Debian: apt-get install linux-image-amd64)"
EL8 = re.compile(r"^4\.18\..*\.el8")
# Cilium's base requirements (same page) without those that its datapath does not use here, then kubeadm's check
# SystemVerification (k8s.io/system-validators 1.12). "A|B": either will do.
CILIUM_OPTIONS = ("BPF", "BPF_SYSCALL", "BPF_JIT", "NET_CLS_BPF", "NET_CLS_ACT", "NET_SCH_INGRESS", "CGROUP_BPF")
KUBEADM_OPTIONS = (
    "NAMESPACES", "NET_NS", "PID_NS", "IPC_NS", "UTS_NS", "CPUSETS", "MEMCG", "INET", "EXT4_FS", "PROC_FS",
    "NETFILTER_XT_TARGET_REDIRECT|IP_NF_TARGET_REDIRECT", "NETFILTER_XT_MATCH_COMMENT", "FAIR_GROUP_SCHED", "CGROUPS",
    "CGROUP_PIDS", "CGROUP_SCHED",
)  # fmt: skip
# What SystemVerification requires of version 2, as far as it is a controller there (devices and freezer are not).
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")


def findings():
    """
    Report what the kernel lacks.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_kernel.findings
    """
    return [*kernel(), *cgroups()]


def kernel(release=None, root="/"):
    """
    Report a kernel that is too old, or lacks modules or features.

    release
        As ``uname -r`` gives it; default: this one.
    root
        Directory taken for / (tests).

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_kernel.kernel
    """
    release = release or platform.release()
    return [*_too_old(release), *_missing_modules(release, root), *_missing_features(release, root)]


def _too_old(release):
    if version(release) >= KERNEL or EL8.match(release):
        return []
    why = f"Cilium needs {'.'.join(map(str, KERNEL))} or newer"
    return [_finding("kernel-too-old", f"kernel {release}", "uname -r", why, UPDATE)]


def _missing_modules(release, root):
    wanted = __pillar__["saltern"]["os"]["modules"]
    missing = [module for module in wanted if not _has_module(module, release, root)]
    if not missing:
        return []
    what = f"the kernel has no {', '.join(missing)}, nor a module to load"
    why = "containers lie on overlay, and pods' packets pass through br_netfilter"
    remedy = (
        "install the distribution's full kernel, not a minimal cloud one; in a system container load them on its "
        f"host: modprobe -a {' '.join(missing)}"
    )
    return [_finding("kernel-module-missing", what, f"/lib/modules/{release}", why, remedy)]


def _missing_features(release, root):
    options, where = kernel_options(release, root)
    lacking = [f"CONFIG_{name}" for name in _needed_options() if options and not options & set(name.split("|"))]
    if not lacking:
        return []
    why = "Cilium's datapath or the kubelet needs it, built in or as a module"
    return [_finding("kernel-feature-missing", f"built without {', '.join(lacking)}", where, why, UPDATE)]


def version(release):
    """
    Read a kernel's version: ``(6, 1)`` of "6.1.0-18-amd64".

    release
        As ``uname -r`` gives it.

    CLI Example:

    .. code-block:: bash

        salt-call --local preflight_kernel.version 6.1.0-18-amd64
    """
    return tuple(int(number) for number in re.findall(r"\d+", release)[:2])


def _has_module(module, release, root):
    """Whether the kernel has it already, or modprobe would find it."""
    if __salt__["kernel_module.available"](module, root):
        return True
    directory = Path(root) / "lib/modules" / release
    lists = [directory / name for name in ("modules.builtin", "modules.dep")]
    names = (line.split(":")[0] for path in lists if path.exists() for line in path.read_text().splitlines())
    # kernel/net/bridge/br_netfilter.ko.xz; file names may have dashes where the module's own name has none
    return any(Path(name).name.split(".")[0].replace("-", "_") == module for name in names)


def kernel_options(release, root="/"):
    """
    Give the options that a kernel was built with or as modules, without ``CONFIG_``, and the file that says so.

    release
        As ``uname -r`` gives it.
    root
        Directory taken for / (tests).

    Returns ``(set, path)``; an empty set where the system has no such file: then nothing can be told.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_kernel.kernel_options 6.1.0-18-amd64
    """
    for name in ("proc/config.gz", f"boot/config-{release}", f"lib/modules/{release}/config"):
        path = Path(root) / name
        if path.exists():
            text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
            return set(re.findall(r"^CONFIG_([A-Z0-9_]+)=[ym]$", text, re.MULTILINE)), f"/{name}"
    return set(), ""


def _needed_options():
    return CILIUM_OPTIONS if _ignores("systemverification") else CILIUM_OPTIONS + KUBEADM_OPTIONS


def cgroups(root="/"):
    """
    Report cgroups of version 1, and controllers of version 2 that the kubelet misses.

    root
        Directory taken for / (tests).

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_kernel.cgroups
    """
    if _ignores("systemverification"):
        return []
    mounts = (line.split() for line in (Path(root) / "proc/self/mounts").read_text().splitlines())
    kinds = {fields[1]: fields[2] for fields in mounts if len(fields) > 2}
    if kinds.get("/sys/fs/cgroup") != "cgroup2":
        why = "since Kubernetes 1.35 the kubelet refuses to start on them"
        remedy = (
            "boot with systemd.unified_cgroup_hierarchy=1 (on every supported system but RHEL 8 that is the default); "
            "or put up with it in pillar/cluster.sls: kubelet.config.failCgroupV1: false and "
            "kubeadm.ignore_preflight_errors: [SystemVerification]"
        )
        return [_finding("cgroup-unsuitable", "cgroups of version 1", "/sys/fs/cgroup", why, remedy)]
    path = Path(root) / "sys/fs/cgroup/cgroup.controllers"
    if missing := [name for name in CONTROLLERS if name not in path.read_text().split()]:
        what = f"no cgroup controller {', '.join(missing)}"
        remedy = (
            "take cgroup_disable=... off the kernel's command line and reboot; in a system container: delegate them"
        )
        return [
            _finding("cgroup-unsuitable", what, f"/{path.relative_to(root)}", "the kubelet bounds pods by it", remedy)
        ]
    return []


def _ignores(check):
    ignored = __salt__["preflight.ignored"]()
    return check in ignored or "all" in ignored


def _finding(*words):
    return __salt__["preflight.finding"](*words)
