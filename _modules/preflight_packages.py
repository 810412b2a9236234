"""
Whether packages can be installed now: nobody else holds the package manager's locks, and dpkg left nothing half done.
"""

import fcntl
import struct
import time
from pathlib import Path

# A machine that has just been made updates its packages by itself for a while. Seconds.
WAIT_S = 40
# dpkg(1) and apt lock by fcntl, rpm too. The first that is held names who is at work.
LOCKS = (
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
    "/var/lib/rpm/.rpm.lock",
)
# dpkg's journal: it holds files only while dpkg works, or after it was killed.
JOURNAL = "/var/lib/dpkg/updates"
# struct flock of Linux on 64-bit machines: type, whence, start, length, PID, and padding to its size.
FLOCK = "hhqqi4x"


def findings():
    """
    Report a package manager at work that does not end within 40 seconds, and an interrupted dpkg.

    Nothing is reported where no package has to be installed or removed: a running cluster goes on beside an upgrade.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight_packages.findings
    """
    if (held := holder()) is None and not interrupted():
        return []
    if not wanted():
        return []
    held = held and released()
    if held:
        why = "packages cannot be installed beside it"
        remedy = f"wait for it; what it does: salt {_id()} cmd.run 'ps -fp {held['pid']}'; then run again"
        what = f"a package manager is at work: {held['command']} (PID {held['pid']})"
        return [__salt__["preflight.finding"]("package-manager-busy", what, held["lock"], why, remedy)]
    if interrupted():
        why = "it refuses every installation until that is mended"
        remedy = f"salt {_id()} cmd.run 'dpkg --configure -a'"
        what = "dpkg was interrupted in the middle of its work"
        return [__salt__["preflight.finding"]("package-manager-interrupted", what, JOURNAL, why, remedy)]
    return []


def wanted():
    """
    Tell whether the states would install, upgrade or remove a package on this node.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight_packages.wanted
    """
    pillar = __pillar__["saltern"]
    if not __salt__["os_package.brought_up"](f"{pillar['paths']['sandbox']}/etc/provisioner/packages.json"):
        return True
    names = __salt__["os_package.local_names"](pillar["os"]["packages"])
    versions = __salt__["os_package.versions"]([*names, *pillar["os"]["absent_packages"]])
    return any(not versions[name] for name in names) or any(versions[n] for n in pillar["os"]["absent_packages"])


def released(wait_s=WAIT_S, locks=LOCKS):
    """
    Wait until nobody holds a lock of the package manager; give who still does after that time, or None.

    wait_s
        Seconds to wait.
    locks
        The lock files.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight_packages.released wait_s=0
    """
    deadline = time.monotonic() + wait_s
    while (held := holder(locks)) and time.monotonic() < deadline:
        # The unattended upgrade of a new machine gives no sign when it ends but its lock.
        time.sleep(1)
    return held


def holder(locks=LOCKS, proc="/proc"):
    """
    Say who holds a lock of the package manager: ``{"lock", "pid", "command"}``, None when nobody does.

    locks
        The lock files.
    proc
        Where the kernel's process files are.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight_packages.holder
    """
    for path in locks:
        if (pid := _locked_by(path)) is not None:
            return {"lock": path, "pid": pid, "command": _command(Path(proc, str(pid), "cmdline"))}
    return None


def _locked_by(path):
    """PID of the process that holds a lock on a file, None if none does. Asks only: the lock is never taken."""
    question = struct.pack(FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0)
    try:
        with Path(path).open("rb") as file:
            kind, *_, pid = struct.unpack(FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, question))
    except FileNotFoundError:
        return None
    return None if kind == fcntl.F_UNLCK else pid


def _command(cmdline, longest=80):
    """A process's command line; it may have ended meanwhile."""
    try:
        words = cmdline.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        words = ""
    return words[:longest] or "a process that has ended"


def interrupted(journal=JOURNAL):
    """
    Tell whether dpkg was killed in the middle of its work.

    journal
        Directory in which it notes what it has begun.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight_packages.interrupted
    """
    path = Path(journal)
    return path.is_dir() and any(entry.name.isdigit() for entry in path.iterdir())


def _id():
    return __opts__["id"]
