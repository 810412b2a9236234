"""Taking the lab down without a trace, from whatever state a crash has left it in.

Nothing is found by a broad name: by the lab's own records, cgroups, namespace, disk and directories only.
"""

import fcntl
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from lab import installation, kernel_settings, network, processes
from lab.errors import CommandError, LabError
from lab.host import detect
from lab.nodes.cgroups import Cgroups
from lab.nodes.machines import NspawnMachines
from lab.nodes.store import Store
from lab.paths import Paths
from lab.processes import Process
from lab.services import Services
from lab.shell import run

UNMOUNT_DEADLINE_S = 20
NSPAWN_RUNTIME = Path("/run/systemd/nspawn")
# What the lab and the product put into the state directory, beside one directory a cluster.
STATE_ENTRIES = ("lab", "salt", "pillar", "bin", "kubeconfig", "proxmox")
CLUSTER_ENTRIES = ("runs", "machines", "lock")

Progress = Callable[[str], None]


def down(paths: Paths, progress: Progress, keep_state: bool = False) -> bool:
    """Remove the lab.

    Args:
        paths: its roots; the cache stays.
        progress: takes one line a step that found something.
        keep_state: leave the nodes' disks, keys and records, so that the next start goes on with them.

    Returns:
        Whether there was anything to remove.

    Raises:
        LabError: something cannot be removed; the text says what holds it.
    """
    found = [_services(paths, progress), _nodes(paths, progress), _leftover_processes(paths, progress)]
    cgroups = Cgroups(detect(paths)).remove_all()
    unmounted = _disk(paths)
    found += [bool(cgroups), unmounted, network.down(), _nspawn_runtime()]
    found.append(bool(kernel_settings.restore(paths.lab / "kernel-settings.json")))
    if not keep_state:
        # Once more: a start that was killed may have left its mount command at work, which then ends after the first
        # time; and removing the state must never walk into a disk that is in use.
        found += [_disk(paths), _state(paths)]
    _obsolete_environments(paths)
    return any(found)


def _services(paths: Paths, progress: Progress) -> bool:
    services = Services(paths)
    started = services.names()
    for name in sorted(started, key=_stop_order):
        services.stop(name)
    if started:
        progress(f"lab: ended {', '.join(started)}")
    return bool(started)


def _stop_order(name: str) -> int:
    """The reverse of the start: nobody works for a service that is gone."""
    return -installation.NAMES.index(name) if name in installation.NAMES else 0


def _nodes(paths: Paths, progress: Progress) -> bool:
    if not paths.run.is_dir():
        return False
    machines = NspawnMachines(paths)
    known = machines.known_ids()
    for machine_id in known:
        machines.stop(machine_id, force=True)
    if known:
        progress(f"lab: switched off {len(known)} machines")
    return bool(known)


def _leftover_processes(paths: Paths, progress: Progress) -> bool:
    """End what no record names: processes in the lab's namespace, and those that have the nodes' disk mounted."""
    leftovers = [process for process in _all_processes() if _in_namespace(process.pid) or _holds(process.pid, paths)]
    for process in leftovers:
        processes.end(process, signal.SIGTERM, deadline_s=3)
    if leftovers:
        progress(f"lab: ended {len(leftovers)} processes that were left over")
    return bool(leftovers)


def _all_processes() -> list[Process]:
    """Every process but ourselves and those above us (the shell that typed `make down`)."""
    spared = set(_ancestors(os.getpid()))
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and int(path.name) not in spared]
    return [process for process in map(Process.of, pids) if process]


def _ancestors(pid: int) -> Iterable[int]:
    while pid > 0:
        yield pid
        status = Path(f"/proc/{pid}/status").read_text()
        pid = int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))


def _in_namespace(pid: int) -> bool:
    """Whether a process is in the lab's network namespace: both files have one inode then."""
    try:
        own, lab = Path(f"/proc/{pid}/ns/net").stat(), network.NAMESPACE_FILE.stat()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return (own.st_dev, own.st_ino) == (lab.st_dev, lab.st_ino) and network.exists()


def _holds(pid: int, paths: Paths) -> bool:
    """Whether a process lives on the nodes' disk: a machine of the lab whose root is one of its subvolumes."""
    try:
        mounts = Path(f"/proc/{pid}/mountinfo").read_text()
    except (FileNotFoundError, ProcessLookupError, OSError):
        return False
    return any(line.split()[4] == "/" and _is_node_root(line, paths) for line in mounts.splitlines())


def _is_node_root(line: str, paths: Paths) -> bool:
    """Whether a line of mountinfo (proc(5)) is a subvolume `/101` of the loop device behind the nodes' image."""
    fields = line.split()
    source = fields[fields.index("-") + 2]
    if not re.fullmatch(r"/\d+", fields[3]) or not source.startswith("/dev/loop"):
        return False
    return Path(source) in _loop_devices(paths)


def _loop_devices(paths: Paths) -> list[Path]:
    """Loop devices of the nodes' image, also of one that was deleted (the kernel adds that word to its name then)."""
    files = Path("/sys/block").glob("loop*/loop/backing_file")
    names = {str(paths.nodes_image), f"{paths.nodes_image} (deleted)"}
    return [Path("/dev") / file.parent.parent.name for file in files if file.read_text().strip() in names]


def _disk(paths: Paths) -> bool:
    """Unmount the nodes' disk and free its loop device."""
    store = Store(paths)
    deadline = time.monotonic() + UNMOUNT_DEADLINE_S
    unmounted = False
    while store.mounted:
        try:
            unmounted = store.unmount() or unmounted
        except CommandError as err:
            # The kernel lets go of a killed node's mounts only after its last process has gone, a little later.
            if time.monotonic() > deadline:
                raise LabError(
                    f"{store.mount_point} cannot be unmounted: {err.stderr.strip()}. "
                    f"Type `fuser -vm {store.mount_point}` to see what holds it, then `make down`"
                ) from err
            time.sleep(0.2)
    for device in _loop_devices(paths):
        run(["losetup", "--detach", device])
        unmounted = True
    return unmounted


def _nspawn_runtime() -> bool:
    """Remove what systemd-nspawn keeps for the lab's machines, and its directories when nobody else uses them."""
    for lock in NSPAWN_RUNTIME.glob("locks/*"):
        _remove_free_lock(lock)
    left = [*NSPAWN_RUNTIME.glob("propagate/node-*"), *NSPAWN_RUNTIME.glob("unix-export/node-*")]
    for path in left:
        if os.path.ismount(path):
            run(["umount", "--lazy", path])
        shutil.rmtree(path)
    for folder in (*(NSPAWN_RUNTIME / name for name in ("locks", "propagate", "unix-export")), NSPAWN_RUNTIME):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return bool(left)


def _remove_free_lock(lock: Path) -> None:
    """Remove a lock file that no container holds: systemd-nspawn names them by inode and leaves them behind."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        lock.unlink()


def _obsolete_environments(paths: Paths) -> None:
    """Remove Python environments of earlier requirements (lab/setup.sh names them by a hash); ours is in use."""
    ours = Path(sys.prefix).resolve()
    if ours.parent != paths.cache.resolve():
        return
    for path in paths.cache.glob("venv-*"):
        if path.resolve() != ours:
            shutil.rmtree(path)


def _state(paths: Paths) -> bool:
    """Remove the state directory's entries that are the lab's or a cluster's; anything else in it is not ours."""
    if not paths.state.is_dir():
        return False
    clusters = [path for path in paths.state.iterdir() if any((path / name).exists() for name in CLUSTER_ENTRIES)]
    present = [path for path in (*(paths.state / name for name in STATE_ENTRIES), *clusters) if path.exists()]
    for path in present:
        if path.is_dir():
            shutil.rmtree(path, onerror=_unless_gone)
        else:
            path.unlink()
    if not any(paths.state.iterdir()):
        paths.state.rmdir()
    return bool(present)


def _unless_gone(_function: object, _path: str, info: tuple[type[BaseException], BaseException, TracebackType]) -> None:
    """For shutil.rmtree: a process that is ending takes its own files away, which is what we are at."""
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]
