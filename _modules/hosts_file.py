"""The lines of /etc/hosts that are Saltern's: one marked block."""

from pathlib import Path

from salt.exceptions import CommandExecutionError

HOSTS = "/etc/hosts"
BEGIN = "# nodes of the cluster: begin"
END = "# nodes of the cluster: end"


def block(hosts=HOSTS):
    """The lines of the block, ``None`` when there is none.

    CLI Example:

    .. code-block:: bash

        salt '*' hosts_file.block
    """
    return split(_read(hosts))[1]


def lines(entries):
    """The lines of a block.

    entries: ``{address: [names]}``. Returns a list such as ``["192.168.100.151 saw-k8s-m-01"]``.

    CLI Example:

    .. code-block:: bash

        salt '*' hosts_file.lines '{192.168.100.151: [saw-k8s-m-01]}'
    """
    return [f"{address} {' '.join(names)}" for address, names in entries.items()]


def split(text):
    """A hosts file without the block, and the block's lines.

    Returns ``(list of lines, list of lines | None)``. Raises CommandExecutionError when a mark lacks its other half.

    CLI Example:

    .. code-block:: bash

        salt '*' hosts_file.split "127.0.0.1 localhost"
    """
    rows = text.splitlines()
    if BEGIN not in rows and END not in rows:
        return rows, None
    try:
        first, last = rows.index(BEGIN), rows.index(END)
    except ValueError as err:
        raise CommandExecutionError(
            f"hosts file: only one of the two lines {BEGIN!r} and {END!r} is there: remove it and apply again"
        ) from err
    return rows[:first] + rows[last + 1 :], rows[first + 1 : last]


def write(wanted, hosts=HOSTS):
    """Put the block at the head of the file; ``None`` takes it away.

    At the head, because the first line with a name wins, and Debian has 127.0.1.1 for a machine's own name.
    Written in place: in a container the file may be a mount, which no rename can replace.

    CLI Example:

    .. code-block:: bash

        salt '*' hosts_file.write '["192.168.100.151 saw-k8s-m-01"]'
    """
    others, _block = split(_read(hosts))
    rows = others if wanted is None else [BEGIN, *wanted, END, *others]
    Path(hosts).write_text("".join(row + "\n" for row in rows))


def _read(hosts):
    """The file's text; none is the same as an empty one."""
    path = Path(hosts)
    return path.read_text() if path.exists() else ""
