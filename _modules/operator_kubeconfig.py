"""
The administrator's kubeconfig that an operator has in his home on a control-plane node.
"""

import grp
import hashlib
import os
import pwd
import tempfile
from pathlib import Path

from salt.exceptions import CommandExecutionError

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700


def wanted(user, group):
    """
    Say what :func:`found` gives for a right kubeconfig, or None while this node has no admin.conf.

    user, group
        Owner of the file.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 operator_kubeconfig.wanted k8s k8s
    """
    source = Path(__salt__["sandbox.path"]("etc", "kubernetes", "admin.conf"))
    if not source.exists():
        return None
    owner = f"{user}:{group}"
    modes = {"mode": f"{FILE_MODE:04o}", "directory_mode": f"{DIRECTORY_MODE:04o}"}
    return {"content": _digest(source), "owner": owner, "directory_owner": owner} | modes


def found(path):
    """
    Tell digest, owner and mode of a kubeconfig and owner and mode of its directory; None for what is not there.

    path
        The kubeconfig.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 operator_kubeconfig.found /home/k8s/.kube/config
    """
    file = Path(path)
    owner, mode = _owner_and_mode(file)
    directory_owner, directory_mode = _owner_and_mode(file.parent)
    return {
        "content": _digest(file) if file.is_file() else None,
        "owner": owner,
        "mode": mode,
        "directory_owner": directory_owner,
        "directory_mode": directory_mode,
    }


def install(path, user, group):
    """
    Copy the node's admin.conf there, never readable by another, in one step.

    path
        The kubeconfig.

    user, group
        Its owner; they exist.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 operator_kubeconfig.install /home/k8s/.kube/config k8s k8s
    """
    ids = _ids(user, group)
    target = Path(path)
    if not target.parent.parent.is_dir():
        raise CommandExecutionError(f"{target.parent.parent} is not there: {user}'s home is made by: state.apply os")
    target.parent.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    target.parent.chmod(DIRECTORY_MODE)
    os.chown(target.parent, *ids)
    # mkstemp's file is 0600 from its first byte; the rename replaces a link instead of writing through it.
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".config-")
    with os.fdopen(handle, "wb") as file:
        file.write(Path(__salt__["sandbox.path"]("etc", "kubernetes", "admin.conf")).read_bytes())
    os.chown(temporary, *ids)
    Path(temporary).replace(target)


def _ids(user, group):
    try:
        return pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError as err:
        raise CommandExecutionError(f"no such user or group ({err.args[0]}): both are made by: state.apply os") from err


def _owner_and_mode(path):
    """``("k8s:k8s", "0600")``; numbers where an ID has no name."""
    if not path.exists():
        return None, None
    stat = path.stat()
    owner = f"{__salt__['account.user_name'](stat.st_uid)}:{__salt__['account.group_name'](stat.st_gid)}"
    return owner, f"{stat.st_mode & 0o7777:04o}"


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
