"""One node as a process: the command line of systemd-nspawn, and finding and entering what it started."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import network, processes
from lab.host import Host
from lab.nodes.cgroups import Cgroups, procs_files_of

# What a Kubernetes node does and a container usually may not: keyrings for images, BPF for Cilium.
SYSTEM_CALLS = "@keyring bpf perf_event_open @module @raw-io"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    # /sys and /proc/sys writable, as on a machine of its own.
    "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1",
}
# Joins the cgroups named before `--`, then becomes the command after it.
# systemd-nspawn(1), --keep-unit: it ends so when the node has asked for a reboot, for its service to start it again.
REBOOTS = 133
# Runs the command after $1, and again after each of the node's reboots, with the cleaning of $1 before. A TERM is for
# the command; "wait" ends early when one comes. One that comes before the command's number is known is passed on then.
_KEEP = f"""
clean=$1; shift
trap 'ended=1; [ -z "$child" ] || kill -TERM "$child"' TERM
while :; do
    child=; "$@" &
    child=$!
    [ -z "${{ended:-}}" ] || kill -TERM "$child"
    wait "$child"; status=$?
    while kill -0 "$child" 2>/dev/null; do wait "$child"; status=$?; done
    [ "$status" -eq {REBOOTS} ] && [ -z "${{ended:-}}" ] || exit "$status"
    eval "$clean"
done
"""
_JOIN = 'while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"'


@dataclass(frozen=True)
class Bind:
    """A directory of the machine that a node sees, read-only.

    Attributes:
        source: on the machine.
        target: in the node.
    """

    source: Path
    target: str


def joining(procs_files: Sequence[Path], argv: Sequence[str]) -> list[str]:
    """The command that enters cgroups and then runs `argv` under the same PID."""
    return ["/bin/sh", "-c", _JOIN, "sh", *(str(file) for file in procs_files), "--", *argv]


def rebooting(argv: Sequence[str], machine: str) -> list[str]:
    """The command that runs a node's, and boots the node again when it has rebooted, as a virtual machine does.

    Its process is the node's as long as that is on: the node's own PID 1 is another one after each boot.

    Args:
        argv: the node's command; it joins its cgroups itself, for this one stays outside.
        machine: the node's name for systemd-nspawn, which may leave a mount and a link behind.
    """
    clean = [
        ["umount", "--quiet", "--lazy", f"/run/systemd/nspawn/propagate/{machine}"],
        network.inside(["ip", "link", "delete", "dev", f"vb-{machine}"]),
    ]
    script = "; ".join(f"{shlex.join(words)} 2>/dev/null" for words in clean)
    # The node dies with what keeps it, as a virtual machine with its process.
    return ["/bin/sh", "-c", _KEEP, "sh", script, "setpriv", "--pdeathsig", "KILL", *argv]


def boot_command(
    host: Host, machine: str, hostname: str, root: Path, networked: bool, binds: Sequence[Bind] = ()
) -> list[str]:
    """The command line that boots a root directory as a node of the lab.

    Args:
        host: facts about the machine.
        machine: name for systemd-nspawn, the cgroup and the node's end of its network cable.
        hostname: the node's host name until cloud-init sets it.
        root: its root directory.
        networked: whether it has a network card.
        binds: directories of the machine that it sees.
    """
    options = [
        "--quiet",
        "--boot",
        "--settings=no",
        "--register=no",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        f"--directory={root}",
        f"--machine={machine}",
        f"--hostname={hostname}",
        "--capability=all",
        f"--system-call-filter={SYSTEM_CALLS}",
    ]
    options.append(f"--network-bridge={network.BRIDGE}" if networked else "--private-network")
    if host.manages_cgroups:
        options.append("--keep-unit")
    if host.kmsg:
        options.append("--bind=/dev/kmsg")
    if host.modules_dir:
        options.append("--bind-ro=/lib/modules")
    # kubeadm reads it; a node sees the machine's /proc and /lib/modules, and has a /boot of its own.
    if host.kernel_config and host.kernel_config.parent == Path("/boot"):
        options.append(f"--bind-ro={host.kernel_config}")
    options += [f"--bind-ro={bind.source}:{bind.target}" for bind in binds]
    return network.inside(["systemd-nspawn", *options])


def leader(process: processes.Process) -> int | None:
    """PID, as the machine sees it, of the node's own PID 1; None before it is there.

    systemd-nspawn's child is PID 1 of a PID namespace inside the machine's: the last number of NSpid (proc(5)) is 1.
    systemd-nspawn is a child itself, of what boots it again, or the process of a node that an earlier version started.
    """
    children = processes.children(process.pid)
    for pid in children + [below for child in children for below in processes.children(child)]:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
        if len(numbers) > 1 and numbers[-1] == "1":
            return pid
    return None


def enter_command(leader_pid: int, cgroups: Cgroups, argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` as root inside a node, in the node's cgroups and namespaces.

    Args:
        leader_pid: the node's PID 1.
        cgroups: where the hierarchies are.
        argv: command and arguments.
    """
    inside = ["nsenter", f"--target={leader_pid}", "--all", "--", "env", "-i", *_inner_environment(), *argv]
    return joining(procs_files_of(leader_pid, cgroups.hierarchies), inside)


def _inner_environment() -> list[str]:
    return [f"PATH={ENVIRONMENT['PATH']}", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"]
