"""Bind mounts: their lines in fstab and whether they are mounted."""

import os
import re
from pathlib import Path

from salt.exceptions import CommandExecutionError

FSTAB = "/etc/fstab"
MOUNTINFO = "/proc/self/mountinfo"
# nofail: a node whose sandbox is broken must still boot, to be reached and mended.
OPTIONS = "bind,nofail"


def line(source, path):
    """The line of fstab for a bind mount.

    CLI Example:

    .. code-block:: bash

        salt '*' bind_mount.line /opt/sandbox/etc/kubernetes /etc/kubernetes
    """
    return f"{source} {path} none {OPTIONS} 0 0"


def in_fstab(path, fstab=FSTAB):
    """The line of fstab that mounts something at a path, ``None`` if there is none; blanks made single.

    CLI Example:

    .. code-block:: bash

        salt '*' bind_mount.in_fstab /etc/kubernetes
    """
    for row in _lines(fstab):
        fields = row.split()
        if len(fields) >= 2 and not fields[0].startswith("#") and fields[1] == path:
            return " ".join(fields)
    return None


def enter(source, path, fstab=FSTAB):
    """Write the line of a bind mount into fstab in place of any other for that path.

    CLI Example:

    .. code-block:: bash

        salt '*' bind_mount.enter /opt/sandbox/etc/kubernetes /etc/kubernetes
    """
    _rewrite(fstab, [*_without(path, fstab), line(source, path)])


def strike(path, fstab=FSTAB):
    """Take the line of a path out of fstab.

    CLI Example:

    .. code-block:: bash

        salt '*' bind_mount.strike /etc/kubernetes
    """
    _rewrite(fstab, _without(path, fstab))


def mounted(source, path):
    """What is mounted at a path.

    Returns ``"source"`` when it shows the directory of the source, ``"other"`` for another mount, ``None`` for none.
    A bind mount shows the very same directory: same device, same inode.

    CLI Example:

    .. code-block:: bash

        salt '*' bind_mount.mounted /opt/sandbox/etc/kubernetes /etc/kubernetes
    """
    if not Path(path).is_dir() or os.path.realpath(path) not in mount_points(Path(MOUNTINFO).read_text()):
        return None
    return "source" if Path(source).is_dir() and Path(source).samefile(path) else "other"


def mount_points(mountinfo):
    r"""The mount points in the text of /proc/self/mountinfo (fifth field, proc(5)), octal escapes (``\040``) undone.

    CLI Example:

    .. code-block:: bash

        salt '*' bind_mount.mount_points "25 1 8:1 / / rw - ext4 /dev/sda1 rw"
    """
    fields = (row.split() for row in mountinfo.splitlines())
    return {re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), row[4]) for row in fields if len(row) > 4}


def mount(source, path):
    """Bind a directory to a path; both are made when missing. Raises CommandExecutionError with mount's own words.

    CLI Example:

    .. code-block:: bash

        salt '*' bind_mount.mount /opt/sandbox/etc/kubernetes /etc/kubernetes
    """
    for directory in (source, path):
        Path(directory).mkdir(parents=True, exist_ok=True)
    _command(["mount", "--bind", source, path])


def unmount(path):
    """Unmount a path. Raises CommandExecutionError when something still uses it.

    CLI Example:

    .. code-block:: bash

        salt '*' bind_mount.unmount /etc/kubernetes
    """
    _command(["umount", path])


def entries(path):
    """The names in a directory, of which a bind mount over it would hide the content.

    CLI Example:

    .. code-block:: bash

        salt '*' bind_mount.entries /etc/kubernetes
    """
    return sorted(entry.name for entry in Path(path).iterdir()) if Path(path).is_dir() else []


def _command(argv):
    """Run mount or umount."""
    done = __salt__["cmd.run_all"](argv, python_shell=False, ignore_retcode=True)
    if done["retcode"]:
        raise CommandExecutionError(f"{' '.join(argv)}: {done['stderr'] or done['stdout']}")


def _lines(fstab):
    """The lines of fstab; a node without one has none."""
    path = Path(fstab)
    return path.read_text().splitlines() if path.exists() else []


def _without(path, fstab):
    """All lines of fstab but the one that mounts something at a path."""
    return [row for row in _lines(fstab) if row.lstrip().startswith("#") or row.split()[1:2] != [path]]


def _rewrite(fstab, lines):
    """Replace fstab in one step with the same owner and mode: a node with half an fstab does not boot."""
    path = Path(fstab)
    temporary = path.with_name(path.name + ".saltern")
    temporary.write_text("".join(row + "\n" for row in lines))
    facts = path.stat() if path.exists() else None
    temporary.chmod(facts.st_mode & 0o7777 if facts else 0o644)
    os.chown(temporary, facts.st_uid if facts else 0, facts.st_gid if facts else 0)
    temporary.replace(path)
