"""
Which process listens on a TCP port, from the kernel's own tables.
"""

from pathlib import Path


def holders(ports, proc="/proc"):
    """
    Say which process listens on each of these TCP ports: ``{6443: "haproxy (PID 812)"}``; free ports are not in it.

    ports
        List of port numbers.

    proc
        Where the kernel's process files are.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 ports.holders '[6443, 10250]'
    """
    tables = [Path(proc, "net", name) for name in ("tcp", "tcp6")]
    sockets = {}
    for table in tables:
        sockets |= listening_sockets(table.read_text()) if table.exists() else {}
    taken = {inode: port for inode, port in sockets.items() if port in ports}
    owners = _socket_owners(set(taken), proc) if taken else {}
    by_port = sorted(taken.items(), key=lambda item: item[1])
    return {port: owners.get(inode, "an unknown process") for inode, port in by_port}


def listening_sockets(text):
    """
    Read /proc/net/tcp: ``{inode: port}`` of the sockets that listen.

    text
        Content of the file.

    CLI Example:

    .. code-block:: bash

        salt-call --local ports.listening_sockets ''
    """
    listen = "0A"
    rows = [line.split() for line in text.splitlines()[1:]]
    return {int(row[9]): int(row[1].rpartition(":")[2], 16) for row in rows if len(row) > 9 and row[3] == listen}


def _socket_owners(inodes, proc):
    """``{inode: "name (PID n)"}``, found through the open files of every process."""
    owners = {}
    for process in (path for path in Path(proc).iterdir() if path.name.isdigit()):
        for inode in inodes.intersection(_sockets_of(process)):
            owners[inode] = f"{_name(process)} (PID {process.name})"
    return owners


def _sockets_of(process):
    """Inodes of the sockets that a process has open; none when it ended while we looked."""
    try:
        files = list((process / "fd").iterdir())
    except OSError:
        return set()
    targets = [_target(file) for file in files]
    return {int(target[8:-1]) for target in targets if target.startswith("socket:[")}


def _target(file):
    try:
        return str(file.readlink())
    except OSError:
        return ""  # closed while we looked


def _name(process):
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process that has ended"
