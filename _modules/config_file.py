"""Text files that are wholly ours: what they say, whose they are, and the writing of them in one step."""

import grp
import os
import pwd
import stat
import tempfile
from pathlib import Path

from salt.exceptions import CommandExecutionError

MODE = "0644"


def wanted(text, user="root", group="root", mode=MODE):
    """What :func:`facts` gives for a file that is right.

    text: its content; a last line without its newline gets one.

    CLI Example:

    .. code-block:: bash

        salt '*' config_file.wanted 'net.ipv4.ip_forward = 1'
    """
    return {"content": text if text.endswith("\n") else f"{text}\n", **attributes(user, group, mode)}


def attributes(user="root", group="root", mode=MODE):
    """The part of :func:`wanted` that is not the content, for a file whose content is another's or compared otherwise.

    CLI Example:

    .. code-block:: bash

        salt '*' config_file.attributes mode=0600
    """
    return {"user": user, "group": group, "mode": str(mode)}


def facts(path):
    """What a file says and whose it is.

    Returns ``{"content", "user", "group", "mode": "0644"}``, ``{}`` for one that is missing. The content of a link is
    ``(link to TARGET)``, whatever it leads to: what a program reads through a link may change behind our back
    (``/dev/null``, a masked unit). Raises CommandExecutionError for a directory.

    CLI Example:

    .. code-block:: bash

        salt '*' config_file.facts /etc/fstab
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return {}
    if stat.S_ISDIR(found.st_mode):
        raise CommandExecutionError(f"{path} is a directory: a file has to be there; move it away and apply again")
    return {"content": _content(Path(path), found.st_mode), **_attributes(found)}


def ownership(path):
    """The owner and mode of a file as :func:`attributes` has them, ``{}`` for one that is missing.

    CLI Example:

    .. code-block:: bash

        salt '*' config_file.ownership /etc/hosts
    """
    try:
        return _attributes(Path(path).stat())
    except FileNotFoundError:
        return {}


def difference(before, after):
    """What differs between two facts of a file: ``{"content" | "user" | "group" | "mode": {"old", "new"}}``.

    CLI Example:

    .. code-block:: bash

        salt '*' config_file.difference '{mode: "0600"}' '{mode: "0644"}'
    """
    return {key: {"old": before.get(key), "new": new} for key, new in after.items() if before.get(key) != new}


def settle(path, facts_wanted):
    """Give a file the content, owner and mode that :func:`wanted` says; what is right already stays untouched.

    Content is written beside the file and renamed: whoever reads meanwhile sees the old or the new one, and a link is
    replaced, not written through.

    CLI Example:

    .. code-block:: bash

        salt '*' config_file.settle /etc/modules-load.d/overlay.conf '{content: overlay, user: root, ...}'
    """
    if facts(path).get("content") != facts_wanted["content"]:
        _write(Path(path), facts_wanted)
    own(path, **{key: facts_wanted[key] for key in ("user", "group", "mode")})


def replace_checked(path, content, check):
    """
    From Python only: put a file there in one step, mode 0644, once the program that will read it has accepted it.

    path, content
        The file. Its directory is made.

    check
        Function of the candidate's path, a file beside it; raises when the program refuses it, and nothing is changed.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, candidate = tempfile.mkstemp(prefix=f".{target.stem}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w") as sink:
            sink.write(content)
        check(candidate)
        Path(candidate).chmod(0o644)
        Path(candidate).replace(target)
    finally:
        Path(candidate).unlink(missing_ok=True)


def own(path, user, group, mode):
    """Give a file its owner and mode. Raises CommandExecutionError for an unknown account.

    CLI Example:

    .. code-block:: bash

        salt '*' config_file.own /etc/hosts root root 0644
    """
    os.chown(path, *_ids(path, user, group))
    Path(path).chmod(int(mode, 8))


def _write(path, facts_wanted):
    """Put the content in place; the mode is right from the first byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as sink:
            sink.write(facts_wanted["content"])
            sink.flush()
            os.fsync(sink.fileno())
        own(name, **{key: facts_wanted[key] for key in ("user", "group", "mode")})
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _content(path, mode):
    """What a file says, as text."""
    if stat.S_ISLNK(mode):
        return f"(link to {path.readlink()})"
    if not stat.S_ISREG(mode):
        return "(no file)"
    return path.read_text(errors="replace")


def _attributes(found):
    """Owner and mode of a stat."""
    return {
        "user": __salt__["account.user_name"](found.st_uid),
        "group": __salt__["account.group_name"](found.st_gid),
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
    }


def _ids(path, user, group):
    """The numbers of an owner."""
    try:
        return pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError as err:
        raise CommandExecutionError(f"{path}: {err.args[0]}: no such account on this node") from err
