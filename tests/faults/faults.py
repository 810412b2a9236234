"""What may break while a cluster is brought up, and how the world is put right again afterwards.

A new fault is one line in :data:`FAULTS`: its name, what strikes, and what the world (not the operator of the cluster)
does afterwards, such as a supervisor that starts a dead service again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from saltern.model import Cluster
from tests.cluster.lab_shell import CHECKOUT, Shell
from tests.cluster.probe import wait_until


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

    def strike(world: World) -> None:
        pid = int(json.loads(_service_record(world, name).read_text())["pid"])
        family = [pid, *_descendants(pid)]
        for each in family:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        wait_until(f"{name} is gone", lambda: not any(_lives(each) for each in family), deadline_s=10, every_s=0.1)

    return strike


def start_services(world: World) -> None:
    """A supervisor starts what died."""
    with world.log.open("a") as log:
        subprocess.run(
            ["make", "lab-start"], cwd=CHECKOUT, env=world.shell.environment, stdout=log, stderr=log, check=True,
            timeout=300,
        )  # fmt: skip


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
    _on_node(world, one, f"ip route replace blackhole {_address(world, other)}/32")


def mend_network(world: World) -> None:
    """The cable is back."""
    one, other = world.workers
    _on_node(world, one, f"ip route del blackhole {_address(world, other)}/32")


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
    """As the operator, over ssh: not by Salt, which may be what is struck. A node that is not there is not struck."""
    user = world.table.operator.user
    target = f"{user}@{_address(world, node)}"
    world.shell.run("ssh", "-o", "ConnectTimeout=5", target, f"sudo {command}", check=False)


def _address(world: World, node: str) -> str:
    return str(world.table.nodes[node].address)


def _service_record(world: World, name: str) -> Path:
    return Path(world.shell.environment["SALTERN_STATE"]) / f"lab/run/service-{name}.json"


def _descendants(pid: int) -> list[int]:
    """Children, their children and so on, of a process. Source: proc(5), /proc/PID/task/TID/children."""
    with suppress(FileNotFoundError, ProcessLookupError):
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [each for child in children for each in (child, *_descendants(child))]
    return []


def _lives(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
