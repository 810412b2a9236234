"""What may break while a cluster is brought up, and how the world is put right again afterwards.

A new fault is one line in :data:`FAULTS`: its name, what strikes, and what the world (not the operator of the cluster)
does afterwards, such as a supervisor that starts a dead service again.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from saltern.model import Cluster
from tests.cluster import strikes
from tests.cluster.lab_shell import Shell


@dataclass(frozen=True)
class World:
    """What a fault may touch.

    Attributes:
        shell: the operator's shell of the lab.
        table: the definition.
        runner: the running ``salt-run``.
        log: where commands that put the world right write.
    """

    shell: Shell
    table: Cluster
    runner: subprocess.Popen[bytes]
    log: Path

    @property
    def control_plane(self) -> str:
        """The control-plane node that faults strike: the second, on which nothing depends that others could not do."""
        return self.table.control_plane[1].name

    @property
    def workers(self) -> tuple[str, str]:
        """Two workers that faults strike."""
        return self.table.workers[0].name, self.table.workers[1].name


@dataclass(frozen=True)
class Fault:
    """One thing that breaks.

    Attributes:
        name: for test IDs and reports.
        strike: breaks it.
        heal: what the world does once the run has ended.
        ends_run: whether no run can survive it, wherever it strikes.
    """

    name: str
    strike: Callable[[World], None]
    heal: Callable[[World], None]
    ends_run: bool = False


def nothing(world: World) -> None:
    """Nobody puts anything right: the next run has to."""


def kill_runner(world: World) -> None:
    """The orchestration itself dies, as by the kernel's OOM killer: only this process, not what it has started."""
    world.runner.send_signal(signal.SIGKILL)


def kill_service(name: str) -> Callable[[World], None]:
    """A strike that kills a service of the lab with all its processes."""
    return lambda world: strikes.kill_service(world.shell, name)


def start_services(world: World) -> None:
    """A supervisor starts what died."""
    strikes.start_services(world.shell, world.log)


def kill_minion(world: World) -> None:
    """The minion of a worker dies with what it runs; its unit starts it again."""
    _on_node(world, world.workers[0], "systemctl kill -s KILL salt-minion")


def stop_node(name: Callable[[World], str]) -> Callable[[World], None]:
    """A strike that switches a machine off at once. A machine that does not exist yet cannot be struck."""

    def strike(world: World) -> None:
        world.shell.run("salt-cloud", "-y", "-a", "stop", name(world), timeout_s=120, check=False)

    return strike


def cut_network(world: World) -> None:
    """Two workers do not reach each other any more; both reach everybody else."""
    one, other = world.workers
    _on_node(world, one, f"ip route replace blackhole {strikes.address(world.table, other)}/32")


def mend_network(world: World) -> None:
    """The cable is back."""
    one, other = world.workers
    _on_node(world, one, f"ip route del blackhole {strikes.address(world.table, other)}/32")


FAULTS = [
    Fault("runner killed", kill_runner, nothing, ends_run=True),
    Fault("master killed", kill_service("salt-master"), start_services, ends_run=True),
    Fault("minion killed", kill_minion, nothing),
    Fault("worker switched off", stop_node(lambda world: world.workers[0]), nothing),
    Fault("control-plane node switched off", stop_node(lambda world: world.control_plane), nothing),
    Fault("Proxmox API killed", kill_service("proxmox"), start_services),
    Fault("mirror killed", kill_service("mirror"), start_services),
    Fault("registry killed", kill_service("registry"), start_services),
    Fault("network cut between two workers", cut_network, mend_network),
]


def named(name: str) -> Fault:
    """The fault of that name. Raises KeyError."""
    return {fault.name: fault for fault in FAULTS}[name]


def _on_node(world: World, node: str, command: str) -> None:
    """A node that is not there is not struck."""
    strikes.on_node(world.shell, world.table, node, command)
