"""Machines that were made and wait to be added to the cluster, and whose turn it is to add them.

salt-cloud announces each machine on the event bus, and a reactor passes it on. Several may come at once: each name is
put down as a file first, then one process at a time waits for the cluster's lock and takes along whatever has come by
then. So none is lost, and not more than one addition runs while another waits.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from saltern import endpoint
from saltern.model import Cluster
from saltern.plan_add import example

# Environment of a salt-cloud that a job runs: which one. It adds its machines itself, so the reactor leaves them alone.
JOB_VARIABLE = "SALTERN_JOB"
# How long the API of a cluster that fails over at this moment may take to answer. Seconds.
API_S = 10.0


class Arrivals:
    """The names of a cluster's machines that wait, a file each in ``<state_dir>/<cluster>/arrivals/``.

    Args:
        directory: the cluster's directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "arrivals"

    def announce(self, name: str) -> None:
        """Put a name down; the same name twice is one."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        (self.directory / name).touch(mode=0o600)

    def names(self) -> list[str]:
        """Who waits, sorted."""
        return sorted(path.name for path in self.directory.glob("*"))

    def take(self) -> list[str]:
        """Who waits; from now on nobody else takes them."""
        names = self.names()
        for name in names:
            (self.directory / name).unlink(missing_ok=True)
        return names


class Turn:
    """The right to be the one addition that waits for the cluster's lock. It ends with the process, at the latest.

    Args:
        fd: the descriptor that a parent process handed over, held by it already; None: not held yet.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = fd

    def take(self, directory: Path) -> bool:
        """Take it, if nobody has it. Returns: whether it was free."""
        fd = os.open(directory / "arrivals.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self.fd = fd
        return True

    def close(self) -> None:
        """Let go of it: a process that it was handed to still has it. Nothing happens when it is not held."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def stays_out(cluster: Cluster, name: str, job: str = "", within_s: float = API_S) -> str | None:
    """Why a machine that was made is not added by itself; None when it is.

    A cluster that is not there yet, or not any more, is brought up with its machines by orchestrate.cluster: so it is
    the API that is asked, not the record of earlier runs.

    Args:
        cluster: the definition.
        name: the machine.
        job: the orchestration that had it made; "" for an operator's own salt-cloud.
        within_s: how long the API may take to answer, seconds.
    """
    row = cluster.nodes.get(name)
    if job:
        return f"{name}: {job} had it made, and adds it"
    if not cluster.settings.join_new_workers:
        return f"{name}: cluster.join_new_workers is false"
    if row is None:
        return f"{name}: has no row in the table of {cluster.name}"
    if row.role != "worker":
        return f"{name}: is a {row.role}; only workers are added by themselves"
    if reason := endpoint.unready(cluster.endpoint, within_s):
        by_hand = f"salt-run state.orchestrate orchestrate.node_add {example({'node': name})}"
        return f"{name}: no API server answers at https://{cluster.endpoint} ({reason}); when one does: {by_hand}"
    return None
