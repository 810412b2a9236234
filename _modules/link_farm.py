"""Symbolic links, many at a time."""

from pathlib import Path


def targets(paths):
    """Where links lead.

    paths: list. Returns ``{path: target}``: ``None`` for one that is missing, ``"(no link)"`` for one that is
    something else.

    CLI Example:

    .. code-block:: bash

        salt '*' link_farm.targets '[/usr/local/bin/kubectl]'
    """
    return {path: _target(Path(path)) for path in paths}


def point(path, target):
    """Have a link lead to a target, in one step: a command is never missing in between.

    CLI Example:

    .. code-block:: bash

        salt '*' link_farm.point /usr/local/bin/kubectl /opt/sandbox/bin/kubectl
    """
    link = Path(path)
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f".{link.name}.saltern")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


def remove(path):
    """Remove a link.

    CLI Example:

    .. code-block:: bash

        salt '*' link_farm.remove /usr/local/bin/kubectl
    """
    Path(path).unlink()


def _target(path):
    """Where one path leads."""
    if path.is_symlink():
        return str(path.readlink())
    return "(no link)" if path.exists() else None
