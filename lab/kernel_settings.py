"""Kernel settings that every node shares with the machine: raised while the lab is up, put back when it goes down.

Nodes see these trees read-only (lab/nodes/early.sh): a node reports such keys as read-only and cannot change its host.
"""

import json
from pathlib import Path

from lab.errors import LabError

WANTED = {
    # Seven Cilium agents, kubelets and CRI-Os share one allowance: with 128 they die of "too many open files".
    "fs.inotify.max_user_instances": "8192",
    "fs.inotify.max_user_watches": "1048576",
    # The kubelet insists on these (pkg/kubelet/cm/container_manager_linux.go) and cannot write them in a node.
    "vm.overcommit_memory": "1",
    "vm.panic_on_oom": "0",
    "kernel.panic": "10",
    "kernel.panic_on_oops": "1",
    "kernel.keys.root_maxkeys": "1000000",
    "kernel.keys.root_maxbytes": "25000000",
}


def file_of(key: str, proc_sys: Path = Path("/proc/sys")) -> Path:
    """The file of a key: fs.inotify.x is fs/inotify/x."""
    return proc_sys / key.replace(".", "/")


def apply(saved: Path, proc_sys: Path = Path("/proc/sys")) -> list[str]:
    """Set what the lab needs, after noting what was there.

    Args:
        saved: the file that keeps the machine's own values; an existing one is kept (its values are the machine's).
        proc_sys: where the keys are.

    Returns:
        The keys that were changed.

    Raises:
        LabError: a key cannot be written here.
    """
    before = {key: file_of(key, proc_sys).read_text().strip() for key in WANTED if file_of(key, proc_sys).exists()}
    changes = {key: value for key, value in before.items() if not _suffices(key, value)}
    if changes and not saved.exists():
        saved.parent.mkdir(parents=True, exist_ok=True)
        saved.write_text(json.dumps(before, indent=1))
    for key in changes:
        _write(key, WANTED[key], proc_sys)
    return sorted(changes)


def restore(saved: Path, proc_sys: Path = Path("/proc/sys")) -> list[str]:
    """Put the machine's own values back and forget them.

    Args:
        saved: the file that `apply` wrote; without it nothing was changed.
        proc_sys: where the keys are.

    Returns:
        The keys that were put back.
    """
    if not saved.exists():
        return []
    values: dict[str, str] = json.loads(saved.read_text())
    changed = [key for key, value in values.items() if file_of(key, proc_sys).read_text().strip() != value]
    for key in changed:
        _write(key, values[key], proc_sys)
    saved.unlink()
    return sorted(changed)


def _suffices(key: str, value: str) -> bool:
    """Limits may be higher than the lab needs; switches have to be as the kubelet wants them."""
    if key.startswith(("fs.", "kernel.keys.")):
        return int(value) >= int(WANTED[key])
    return value == WANTED[key]


def _write(key: str, value: str, proc_sys: Path) -> None:
    try:
        file_of(key, proc_sys).write_text(value)
    except OSError as err:
        raise LabError(
            f"{key}: cannot be set to {value} on this machine ({err.strerror}). Every node shares it. "
            f"Type `sysctl -w {key}={value}` where it may be set, then again `make up`"
        ) from err
