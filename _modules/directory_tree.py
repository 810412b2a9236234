"""Directories with owner and mode, many at a time."""

import grp
import os
import pwd
import stat
from pathlib import Path

from salt.exceptions import CommandExecutionError


def facts(paths):
    """Owner and mode of directories.

    paths: list. Returns ``{path: {"user", "group", "mode": "0755"}}``, ``None`` for one that is missing.
    Raises CommandExecutionError for a path that is something else than a directory.

    CLI Example:

    .. code-block:: bash

        salt '*' directory_tree.facts '[/opt/sandbox, /opt/provisioner]'
    """
    return {path: _facts(path) for path in paths}


def make(path, user, group, mode):
    """Make a directory, or give it owner and mode.

    mode: octal text such as ``"0755"``. Raises CommandExecutionError for an unknown user or group.

    CLI Example:

    .. code-block:: bash

        salt '*' directory_tree.make /opt/sandbox root root 0755
    """
    try:
        owner, owning = pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError as err:
        raise CommandExecutionError(
            f"{path}: {err.args[0]} on this node: operator in cluster.sls names the account"
        ) from err
    Path(path).mkdir(parents=True, exist_ok=True)
    os.chown(path, owner, owning)
    Path(path).chmod(int(str(mode), 8))


def remove_empty(paths):
    """Remove directories that hold nothing any more, deepest first.

    paths: list; one that holds something stays. Returns the list of those removed.

    CLI Example:

    .. code-block:: bash

        salt '*' directory_tree.remove_empty '[/opt/sandbox/bin, /opt/sandbox]'
    """
    removable = empty(paths)
    for path in removable:
        Path(path).rmdir()
    return removable


def empty(paths):
    """Those of the directories that hold nothing but others of them, deepest first.

    paths: list. Returns a list.

    CLI Example:

    .. code-block:: bash

        salt '*' directory_tree.empty '[/opt/sandbox/bin, /opt/sandbox]'
    """
    found = []
    for path in sorted(paths, key=lambda path: path.count("/"), reverse=True):
        directory = Path(path)
        if directory.is_dir() and not os.path.ismount(path) and all(str(item) in found for item in directory.iterdir()):
            found.append(path)
    return found


def _facts(path):
    """Owner and mode of one directory."""
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(found.st_mode):
        raise CommandExecutionError(f"{path} is in the way: a directory has to be there; move it away and apply again")
    return {
        "user": __salt__["account.user_name"](found.st_uid),
        "group": __salt__["account.group_name"](found.st_gid),
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
    }
