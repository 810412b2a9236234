"""What was on a node before: kept once, given back by the ``clean`` states.

A file is kept as ``<directory>/<basename>.original`` (the first directory is the working one that a reboot may empty,
the last one is durable);
one that did not exist is kept as ``<basename>.absent``. What is no file (live sysctl values, say) is noted in
``<directory>/noted.json``.
"""

import json
import os
import shutil
from pathlib import Path

from salt.exceptions import CommandExecutionError

NOTED = "noted.json"
# How each file of ours that is written whole begins (salt/*/files): never an original.
OURS = b"Managed by Salt"
HEAD_BYTES = 200


def kept(path, directories):
    """Where the original of a file is kept.

    path: the file; directories: list of backup directories.
    Returns the path of the copy, of the ``.absent`` mark, or ``None`` when nothing is kept yet.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 original.kept /etc/fstab '[/tmp/provisioner/backup, /var/backups/saltern]'
    """
    for directory in directories:
        for copy in _copies(path, directory):
            if copy.exists():
                return str(copy)
    return None


def keep(path, directories):
    """Copy a file into every backup directory, unless one of them has it: only the first state is the original.

    Owner, mode and times go with it. Returns True when it was kept now.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 original.keep /etc/fstab '[/tmp/provisioner/backup, /var/backups/saltern]'
    """
    if kept(path, directories):
        return False
    there = foreign(path)
    for directory in directories:
        Path(directory).mkdir(parents=True, exist_ok=True)
        copy, absent = _copies(path, directory)
        if there:
            _copy(path, copy)
        else:
            absent.touch()
    return True


def foreign(path):
    """Whether there is something at a path that Salt did not write.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 original.foreign /etc/systemd/system/crio.service
    """
    return os.path.lexists(path) and not _is_ours(path)


def put_aside(path, directories):
    """Move what is at a path away, to be given back one day. Returns where it is kept.

    One that was put aside before is not overwritten: what came after it is not of before.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 original.put_aside /usr/bin/kubelet '[/var/backups/saltern/usr-bin]'
    """
    keep(path, directories)
    Path(path).unlink()
    return kept(path, directories)


def way_back(path, directories):
    """What :func:`give_back` would change: ``{"old", "new"}``, or None.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 original.way_back /etc/systemd/system/crio.service '[/var/backups/saltern]'
    """
    copy, there = kept(path, directories), os.path.lexists(path)
    if copy and not copy.endswith(".absent"):
        return {"old": "ours" if there else None, "new": "as before"}
    return {"old": "ours", "new": None} if there and (copy or _is_ours(path)) else None


def give_back(path, directories):
    """Make a path what it was: its original back, or nothing there. What is not ours and was not kept is left alone.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 original.give_back /etc/systemd/system/crio.service '[/var/backups/saltern]'
    """
    if restore(path, directories) is None and os.path.lexists(path) and _is_ours(path):
        Path(path).unlink()


def restore(path, directories):
    """Put the original of a file back, or remove the file when there was none; the kept copies go.

    Returns ``"restored"``, ``"removed"`` or ``None`` when nothing was kept.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 original.restore /etc/haproxy/haproxy.cfg '[/tmp/provisioner/backup, /var/backups/saltern]'
    """
    copy = kept(path, directories)
    if copy is None:
        return None
    if copy.endswith(".absent"):
        Path(path).unlink(missing_ok=True)
        done = "removed"
    else:
        _copy(copy, f"{path}.restored")
        Path(f"{path}.restored").replace(path)
        done = "restored"
    forget(path, directories)
    return done


def forget(path, directories):
    """Drop the kept copies of a file.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 original.forget /etc/fstab '[/tmp/provisioner/backup, /var/backups/saltern]'
    """
    for directory in directories:
        for copy in _copies(path, directory):
            copy.unlink(missing_ok=True)


def noted(topic, directories):
    """The facts noted under a topic, from the durable directory (the last one).

    Returns a dict (empty when nothing is noted). Raises CommandExecutionError when the notes cannot be read.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 original.noted sysctl '[/tmp/provisioner/backup, /var/backups/saltern]'
    """
    return _notes(directories).get(topic, {})


def note(topic, facts, directories):
    """Note facts under a topic; those noted before stay, for they are the older ones.

    topic: e.g. ``sysctl``; facts: dict of strings. Returns the facts that are new.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 original.note sysctl '{vm.swappiness: "60"}' '[/tmp/provisioner/backup, /var/backups/saltern]'
    """
    notes = _notes(directories)
    new = {key: value for key, value in facts.items() if key not in notes.get(topic, {})}
    if new:
        _write_notes(notes | {topic: notes.get(topic, {}) | new}, directories)
    return new


def unnote(topic, directories):
    """Drop a topic after what it says was given back. Returns the facts that it had.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 original.unnote sysctl '[/tmp/provisioner/backup, /var/backups/saltern]'
    """
    notes = _notes(directories)
    facts = notes.pop(topic, {})
    if facts:
        _write_notes(notes, directories)
    return facts


def _copies(path, directory):
    """The two names under which a directory may keep a file."""
    base = Path(directory) / Path(path).name
    return base.with_name(base.name + ".original"), base.with_name(base.name + ".absent")


def _is_ours(path):
    """Whether a file says at its head that Salt manages it."""
    if Path(path).is_symlink() or not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return OURS in file.read(HEAD_BYTES)


def _copy(source, target):
    """Copy with times, mode and owner; a link stays a link. Nobody reads the copy before it has its mode."""
    Path(target).unlink(missing_ok=True)
    if not Path(source).is_symlink():
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    shutil.copy2(source, target, follow_symlinks=False)
    facts = os.lstat(source)
    os.chown(target, facts.st_uid, facts.st_gid, follow_symlinks=False)


def _notes(directories):
    """All topics."""
    path = Path(directories[-1]) / NOTED
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as err:
        raise CommandExecutionError(
            f"{path}: not JSON ({err}); it holds what this node was before Saltern: "
            "mend it, or move it away to go on without"
        ) from err


def _write_notes(notes, directories):
    """Replace the notes in one step; no notes are no file."""
    path = Path(directories[-1]) / NOTED
    if not notes:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(notes, indent=1, sort_keys=True))
    temporary.replace(path)
