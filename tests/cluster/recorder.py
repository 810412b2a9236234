"""A recording of what passes while a job runs and is gone afterwards: events of the master's bus, argument lists and
environments of all processes, those inside the nodes too.

`python -m tests.cluster.recorder events FILE` and `... processes FILE`, each until SIGTERM. A whole bring-up costs them
a few seconds of processor time.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from lab.paths import Paths

from .lab_shell import CHECKOUT

# A recording that stops taking is worse than a full disk: it would find nothing. So it says that it is full.
MAXIMUM_BYTES = 512 * 2**20
FULL = b"\n(the recording is full)\n"
HEADING, HEADING_WITHIN_BYTES = re.compile(rb"\n== (.+) ==\n"), 16 * 2**20
BUS_WAIT_S = 1.0
# How often all processes are looked at: also for titles that they give themselves, or for want of anything better.
SAMPLE_EVERY_S, SAMPLE_ALONE_EVERY_S = 2.0, 0.2
RECEIVE_BUFFER_BYTES, PROCESS_BYTES = 4 * 2**20, 2**20
# connector.h and cn_proc.h of Linux: multicast group of process events, "listen", and the kind of event.
NETLINK_CONNECTOR, NLMSG_DONE = 11, 3
CN_IDX_PROC = CN_VAL_PROC = 1
PROC_CN_MCAST_LISTEN, PROC_EVENT_EXEC = 1, 2
NETLINK_HEADER, CONNECTOR_HEADER, LISTEN = struct.Struct("=IHHII"), struct.Struct("=IIIIHH"), struct.Struct("=I")
EVENT = struct.Struct("=IIQI")  # what, CPU, nanoseconds, PID
EVENT_AT = NETLINK_HEADER.size + CONNECTOR_HEADER.size


class Recording:
    """A file that takes each piece once, each under a heading, and is readable by nobody else.

    Args:
        path: the file; it is appended to.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0)
        self._seen: set[bytes] = set()
        self._left = MAXIMUM_BYTES

    def take(self, heading: str, piece: bytes) -> None:
        """Write a piece down under a heading (no secret), unless it is empty or was taken before."""
        digest = hashlib.blake2b(piece, digest_size=8).digest()
        if not piece or digest in self._seen or self._left <= 0:
            return
        self._seen.add(digest)
        self._left -= len(piece)
        self._file.write(b"\n== %b ==\n%b\n" % (heading.encode(), piece) if self._left > 0 else FULL)


def heading_at(path: Path, offset: int) -> str:
    """Under which heading of a recording an offset lies."""
    with path.open("rb") as file:
        file.seek(max(0, offset - HEADING_WITHIN_BYTES))
        found = HEADING.findall(file.read(min(offset, HEADING_WITHIN_BYTES)))
    return found[-1].decode(errors="replace") if found else "?"


def is_full(path: Path) -> bool:
    """Whether a recording had to leave something out."""
    with path.open("rb") as file:
        file.seek(-min(len(FULL), path.stat().st_size), os.SEEK_END)
        return file.read() == FULL


class Recorders:
    """Both recorders as processes of their own, from their start to :meth:`stop`.

    Args:
        directory: for the files ``events`` and ``processes``; they may hold secrets and are removed at the end.
    """

    def __init__(self, directory: Path) -> None:
        self.files = {kind: directory / kind for kind in KINDS}
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Recorders:
        for kind, file in self.files.items():
            argv = [sys.executable, "-m", __name__, kind, str(file)]
            self._running.append(subprocess.Popen(argv, cwd=CHECKOUT, stdin=subprocess.DEVNULL))
        return self

    def stop(self) -> None:
        """End the recording; the files are complete then. A recorder that had died is an error."""
        ended = [process for process in self._running if process.poll() is not None]
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait(timeout=30)
        self._running = []
        assert not ended, f"a recorder ended before its time: {[process.args for process in ended]}"

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.stop()
        finally:
            for file in self.files.values():
                file.unlink(missing_ok=True)


def record_events(recording: Recording) -> None:
    """Everything on the bus of the lab's master, from its first start on and over its restarts."""
    # Salt is loaded by the one recorder that needs it.
    import salt.config
    import salt.payload
    import salt.utils.event

    os.nice(10)
    config = Paths.from_environment().salt / "etc/master"
    while not config.exists():
        time.sleep(0.5)  # the lab has not come that far: its master starts seconds after its configuration was written
    time.sleep(0.5)
    opts = salt.config.master_config(str(config))
    bus = salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=True)
    while True:
        event = bus.get_event(wait=BUS_WAIT_S, full=True, auto_reconnect=True)
        if event is None:
            time.sleep(0.05)  # without a master it returns at once
        else:
            recording.take(event["tag"], salt.payload.dumps(event))


def record_processes(recording: Recording) -> None:
    """Argument list and environment of each process: when it starts a program, and of all every few seconds."""
    # Not niced: what lives for some milliseconds has to be read at once.
    listener = _listener()
    heard = listener is not None and _next_exec(listener, SAMPLE_EVERY_S) is not None
    every_s = SAMPLE_EVERY_S if heard else SAMPLE_ALONE_EVERY_S
    while True:
        for pid in (path.name for path in Path("/proc").iterdir() if path.name.isdigit()):
            _take_process(recording, pid)
        due = time.monotonic() + every_s
        while (left := due - time.monotonic()) > 0:
            if not heard or listener is None:
                time.sleep(left)
            elif (pid := _next_exec(listener, left)) and pid > 0:
                _take_process(recording, str(pid))


def _take_process(recording: Recording, pid: str) -> None:
    # It may have ended; a process of the kernel has no memory to read from.
    with suppress(OSError):
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        for kind in ("cmdline", "environ"):
            with Path(f"/proc/{pid}/{kind}").open("rb", buffering=0) as file:
                recording.take(f"{kind} of {name}", file.read(PROCESS_BYTES))


def _listener() -> socket.socket | None:
    """A socket to which the kernel reports each exec(); None where it does not."""
    try:
        listener = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_CONNECTOR)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        listener.bind((0, CN_IDX_PROC))
        message = CONNECTOR_HEADER.pack(CN_IDX_PROC, CN_VAL_PROC, 0, 0, LISTEN.size, 0)
        message += LISTEN.pack(PROC_CN_MCAST_LISTEN)
        listener.send(NETLINK_HEADER.pack(NETLINK_HEADER.size + len(message), NLMSG_DONE, 0, 0, 0) + message)
    except OSError:
        return None
    return listener


def _next_exec(listener: socket.socket, timeout_s: float) -> int | None:
    """PID of the next process that starts a program; 0 for any other event, None when nothing came in time."""
    listener.settimeout(timeout_s)
    try:
        message = listener.recv(4096)
    except TimeoutError:
        return None
    except OSError:  # ENOBUFS: some were lost; the next look at all processes comes soon
        return 0
    what, _, _, pid = EVENT.unpack_from(message, EVENT_AT)
    return pid if what == PROC_EVENT_EXEC else 0


KINDS: dict[str, Callable[[Recording], None]] = {"events": record_events, "processes": record_processes}

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    KINDS[sys.argv[1]](Recording(Path(sys.argv[2])))
