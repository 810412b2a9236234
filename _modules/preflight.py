"""
What stands in the way of making this machine a node: all findings at once, before anything is changed.

Reads only. A node that is a member already is not held to what only a bring-up needs.
"""

import fcntl
import os
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

# kubeadm's own minima (its checks Mem and NumCPU); without them a control plane does not start. MiB and CPUs.
MEMORY_MIB = {"control_plane": 1700, "worker": 900, "load_balancer": 400}
CPUS = {"control_plane": 2, "worker": 1, "load_balancer": 1}
# Binaries, container images and etcd of a fresh node; the kubelet evicts pods below a tenth of the disk. MiB.
DISK_MIB = {"control_plane": 4096, "worker": 4096, "load_balancer": 512}
CONNECT_S = 5
# A machine that has just been made updates its packages by itself for a while.
PACKAGE_LOCK_S = 60
PACKAGE_LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/rpm/.rpm.lock")


def findings():
    """
    Report what stands in the way on this node, and its clock.

    Returns ``{"findings": [{"what", "where", "why", "remedy"}], "epoch_s": float}``; the clocks of the nodes are
    compared on the master.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight.findings
    """
    role = __pillar__["saltern"]["node"]["role"]
    found = [*resources(role), *package_lock()]
    if not _begun(role):
        found += [*ports(role), *sources()]
    return {"findings": found, "epoch_s": time.time()}


def _begun(role):
    """Whether an init or join has begun here: then its components hold the ports, and the artefacts are there."""
    if role == "load_balancer":
        return False
    return bool(__salt__["kubeadm_facts.unfinished"]() or __salt__["kubeadm_facts.member_files"]()["kubelet_conf"])


def ports(role):
    """
    Report ports that the role needs and another program holds.

    role
        The node's role.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight.ports control_plane
    """
    taken = _haproxy_ports_taken() if role == "load_balancer" else __salt__["kubeadm_facts.ports_taken"]()
    remedy = f"on {__opts__['id']}: stop that program (systemctl stop NAME, kill PID; ss -ltnp lists all)"
    return [_finding(text, "TCP ports", "two programs cannot listen on one port", remedy) for text in taken]


def _haproxy_ports_taken():
    frontends = __pillar__["saltern"]["haproxy"]["frontends"]
    held = __salt__["ports.holders"]([int(frontend["bind"].rpartition(":")[2]) for frontend in frontends])
    return [
        f"port {port}, which HAProxy needs, is taken by {holder}"
        for port, holder in held.items()
        if not holder.startswith("haproxy ")
    ]


def resources(role):
    """
    Report too little memory, too few CPUs, too little free disk.

    role
        The node's role.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight.resources control_plane
    """
    ignored = __pillar__["saltern"].get("kubeadm", {}).get("ignore_preflight_errors", [])
    memory, cpus = memory_mib(Path("/proc/meminfo").read_text()), os.cpu_count() or 1
    sandbox = _existing(__pillar__["saltern"]["paths"]["sandbox"])
    free = os.statvfs(sandbox)
    free_mib = free.f_bavail * free.f_frsize // 2**20
    needed_mib = DISK_MIB[role] if not _begun(role) else DISK_MIB["load_balancer"]
    row = "raise it in the node's row of pillar/cluster.sls and on the machine"
    found = []
    if memory < MEMORY_MIB[role] and "Mem" not in ignored:
        why = f"{role} needs {MEMORY_MIB[role]} MiB"
        found.append(_finding(f"{memory} MiB of memory", "/proc/meminfo", why, row))
    if cpus < CPUS[role] and "NumCPU" not in ignored:
        found.append(_finding(f"{cpus} CPU", "/proc/cpuinfo", f"{role} needs {CPUS[role]}", row))
    if free_mib < needed_mib:
        why = f"{needed_mib} MiB are needed for binaries and images"
        remedy = f"free some (du -xh --max-depth=2 {sandbox} | sort -h | tail), or enlarge the disk"
        found.append(_finding(f"{free_mib} MiB free", str(sandbox), why, remedy))
    return found


def memory_mib(text):
    """
    Read the machine's memory, in MiB, from /proc/meminfo.

    text
        Content of the file.

    CLI Example:

    .. code-block:: bash

        salt-call --local preflight.memory_mib 'MemTotal:        8388608 kB'
    """
    line = next(line for line in text.splitlines() if line.startswith("MemTotal:"))
    return int(line.split()[1]) // 1024


def _existing(path):
    """The path, or the nearest directory above it that is there."""
    path = Path(path)
    while not path.exists():
        path = path.parent
    return path


def package_lock(wait_s=PACKAGE_LOCK_S, paths=PACKAGE_LOCKS):
    """
    Report a package manager at work, unless it ends within a minute.

    wait_s
        Seconds to wait for it.
    paths
        Its lock files.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight.package_lock wait_s=0
    """
    deadline = time.monotonic() + wait_s
    while held := [path for path in paths if _is_locked(path)]:
        if time.monotonic() >= deadline:
            why = "packages cannot be installed beside it"
            remedy = "wait for it, or see what it does: ps -ef | grep -E 'apt|dpkg|dnf'"
            return [_finding("a package manager is at work", held[0], why, remedy)]
        # The unattended upgrade of a new machine gives no sign when it ends but its lock.
        time.sleep(1)
    return []


def _is_locked(path):
    try:
        with Path(path).open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except (BlockingIOError, PermissionError):
        return True
    return False


def sources():
    """
    Report artefact servers and image registries that do not answer.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight.sources
    """
    pillar = __pillar__["saltern"]
    servers = {_address(artefact["url"]): "artefacts" for artefact in pillar["artefacts"]}
    registries = pillar.get("crio", {}).get("registries", {})
    mirrored = {mirror["registry"]: mirror for mirror in registries.get("mirrors", [])}
    for registry in registries.get("allowed", []):
        mirror = mirrored.get(registry, {"mirror": registry, "insecure": False})
        scheme = "http" if mirror["insecure"] else "https"
        servers[_address(f"{scheme}://{mirror['mirror']}")] = f"images of {registry}"
    return [found for (host, port), what in servers.items() if (found := _unreachable(host, port, what))]


def _address(url):
    """("storage.googleapis.com", 443) of an URL."""
    parts = urlsplit(url)
    return parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]


def _unreachable(host, port, what):
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except OSError as err:
        mirrors = "name a mirror in pillar/cluster.sls (artefacts.mirror, registries.mirrors)"
        remedy = f"start it, or open the way to it (from this node: curl -v telnet://{host}:{port}), or {mirrors}"
        return _finding(f"{host}:{port} does not answer ({err})", f"{host}:{port}", f"{what} come from there", remedy)
    return None


def _finding(what, where, why, remedy):
    return {"what": what, "where": where, "why": why, "remedy": remedy}
