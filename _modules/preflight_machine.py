"""
Whether the machine can be a node of its role: operating system, processor, memory. Reads only.
"""

import os
import platform
import sys
from pathlib import Path

# The systems that the states are written for (docs/production.md): ID and VERSION_ID of os-release(5), as far as the
# distribution keeps its version compatible.
SUPPORTED = {
    "debian": ("12", "13"),
    "ubuntu": ("22.04", "24.04"),
    "rhel": ("8", "9"),
    "centos": ("8", "9"),
    "rocky": ("8", "9"),
}
# Of the minion: the modules read TOML by the standard library's tomllib.
PYTHON = (3, 11)
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

# kubeadm's own minima (its checks Mem and NumCPU); without them a control plane does not start. MiB and CPUs.
MEMORY_MIB = {"control_plane": 1700, "worker": 900, "load_balancer": 400}
CPUS = {"control_plane": 2, "worker": 1, "load_balancer": 1}
# What the firmware, the kernel and a crash kernel keep for themselves does not show in /proc/meminfo; the rest of a
# row's memory does. A smaller share means another machine than the row says.
MEMORY_SHARE = 0.8


def findings(role, begun):
    """
    Report what the machine lacks.

    role
        The node's role.
    begun
        Whether an init or join has begun here: such a node is not held to what only a bring-up needs.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_machine.findings control_plane False
    """
    # A container shows its host's processors and memory; a member's row may have been raised since.
    own = not begun and not __salt__["node_facts.container"]()
    return [*system(), *python(), *architecture(), *processors(role, own), *memory(role, own)]


def system(root="/"):
    """
    Report an operating system that the states are not written for.

    root
        Directory taken for / (tests).

    CLI Example:

    .. code-block:: bash

        salt '*' preflight_machine.system
    """
    path, remedy = (
        Path(root) / "etc/os-release",
        f"make it anew from such a template: salt-cloud -d {_id()}, then run again",
    )
    release = os_release(path.read_text() if path.exists() else "")
    if not _supported(release):
        what = release.get("PRETTY_NAME") or "an operating system without /etc/os-release"
        known = "; ".join(f"{name} {', '.join(versions)}" for name, versions in SUPPORTED.items())
        why = f"packages, units and paths of the states are those of: {known}"
        return [_finding("wrong-os", what, "/etc/os-release", why, remedy)]
    if not (Path(root) / "run/systemd/system").is_dir():
        why = "the kubelet, CRI-O and HAProxy run as systemd units"
        return [_finding("wrong-os", "systemd is not PID 1", "/run/systemd/system", why, remedy)]
    return []


def python(version=None):
    """
    Report a minion whose Python is too old for the states.

    version
        ``(3, 11)``; default: of the Python that runs this.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight_machine.python
    """
    version = tuple(version or sys.version_info)[:2]
    if version >= PYTHON:
        return []
    what = f"the minion runs on Python {'.'.join(map(str, version))}"
    why = f"the modules that prepare a node need {'.'.join(map(str, PYTHON))} or newer"
    remedy = f"give the template such a Python (docs/production.md), then: salt-cloud -d {_id()}, and run again"
    return [_finding("wrong-os", what, sys.executable, why, remedy)]


def architecture(machine=None):
    """
    Report a processor of another architecture than the row's.

    machine
        The processor as ``uname -m`` names it; default: this one.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight_machine.architecture
    """
    machine = machine or platform.machine()
    here, wanted = ARCHITECTURES.get(machine, machine), _row("arch")
    if wanted in (None, here):
        return []
    what = f"the processor is {machine} ({here}), the row says {wanted}"
    remedy = f"write arch: {here} in the node's row of pillar/cluster.sls"
    return [_finding("wrong-architecture", what, "uname -m", "binaries of another architecture do not run", remedy)]


def os_release(text):
    """
    Read os-release(5): ``{"ID": "debian", "VERSION_ID": "12", ...}``, without quotes.

    text
        Content of the file.

    CLI Example:

    .. code-block:: bash

        salt-call --local preflight_machine.os_release 'ID=debian'
    """
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key: value.strip().strip("\"'") for key, _, value in pairs}


def _supported(release):
    version = release.get("VERSION_ID", "")
    return any(version == known or version.startswith(f"{known}.") for known in SUPPORTED.get(release.get("ID"), ()))


def processors(role, own):
    """
    Report too few CPUs for kubeadm, or fewer than the row says.

    role
        The node's role.
    own
        Whether to hold the machine to its row: a container shows its host's CPUs.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_machine.processors control_plane True
    """
    # As kubeadm counts them: those that this process may run on.
    cpus, row = len(os.sched_getaffinity(0)), _row("cpus") or 0
    if _ignores("numcpu"):
        return []
    if cpus < CPUS[role]:
        why = f"kubeadm needs {CPUS[role]} on a {role}, and refuses to start"
        remedy = "raise cpus in the node's row of pillar/cluster.sls and on the machine"
    elif own and cpus < row:
        why = f"its row says {row}: pods are placed by what the machine has"
        remedy = f"give the machine {row} CPUs (salt-cloud -a show_instance {_id()} shows it), or correct its row"
    else:
        return []
    return [_finding("cpus-too-few", f"{cpus} CPU{'s' if cpus > 1 else ''}", "/proc/cpuinfo", why, remedy)]


def memory(role, own):
    """
    Report too little memory for kubeadm, or less than the row says.

    role
        The node's role.
    own
        Whether to hold the machine to its row: a container shows its host's memory.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_machine.memory control_plane True
    """
    mib, row_mib = memory_mib(Path("/proc/meminfo").read_text()), (_row("memory_gib") or 0) * 1024
    if _ignores("mem"):
        return []
    if mib < MEMORY_MIB[role]:
        why = f"{role} needs {MEMORY_MIB[role]} MiB"
        remedy = "raise memory_gib in the node's row of pillar/cluster.sls and on the machine"
    elif own and mib < row_mib * MEMORY_SHARE:
        why = f"its row says {row_mib} MiB: pods are placed by what the machine has"
        remedy = (
            f"give the machine its memory (salt-cloud -a show_instance {_id()} shows it; ballooning takes some away), "
            "or correct its row"
        )
    else:
        return []
    return [_finding("memory-too-small", f"{mib} MiB of memory", "/proc/meminfo", why, remedy)]


def memory_mib(text):
    """
    Read the machine's memory, in MiB, from /proc/meminfo.

    text
        Content of the file.

    CLI Example:

    .. code-block:: bash

        salt-call --local preflight_machine.memory_mib 'MemTotal:        8388608 kB'
    """
    line = next(line for line in text.splitlines() if line.startswith("MemTotal:"))
    return int(line.split()[1]) // 1024


def _row(key):
    """What the row says; None while a master that was not restarted after an update hands out the pillar of before."""
    return __pillar__["saltern"]["node"].get(key)


def _ignores(check):
    ignored = __salt__["preflight.ignored"]()
    return check in ignored or "all" in ignored


def _id():
    return __opts__["id"]


def _finding(*words):
    return __salt__["preflight.finding"](*words)
