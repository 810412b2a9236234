"""Throw-away nodes for tests: booted from the template in seconds, gone when the test ends.

They share the lab's network and disk, and may exist beside a running lab:

    with scratch_node() as node:
        node.run(["systemctl", "is-system-running", "--wait"])
        node.salt_call("sysctl_profile.managed", ...)
"""

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import kernel_settings, network
from lab.errors import LabError
from lab.nodes import template
from lab.nodes.machines import TEMPLATE_ID, NspawnMachines
from lab.nodes.nspawn import Bind
from lab.paths import Paths
from lab.proxmox.machines import MachineConfig, MachineError, NetworkCard

FIRST_ID = 9230  # the last three digits are the last octet of the address: 192.168.100.230-249 are free for tests
LAST_ID = 9249
BOOT_DEADLINE_S = 90
CHECKOUT_IN_NODE = "/srv/saltern"
NETWORK_FILE = "etc/systemd/network/20-scratch.network"


class ScratchNode:
    """A running throw-away node.

    Attributes:
        machine_id: its ID among the lab's machines.
        root: its root directory, as this machine sees it.
        address: its address on the lab's bridge.
    """

    def __init__(self, machines: NspawnMachines, machine_id: int) -> None:
        self._machines = machines
        self.machine_id = machine_id
        self.root: Path = machines.store.root(machine_id)
        self.address = address_of(machine_id)

    def exec(self, argv: Sequence[str], stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        """Run a command in the node; returns exit code, standard output, standard error."""
        return self._machines.exec(self.machine_id, list(argv), stdin)

    def run(self, argv: Sequence[str], stdin: str = "") -> str:
        """Run a command in the node that has to succeed.

        Returns:
            Its standard output.

        Raises:
            LabError: its exit code was not 0.
        """
        code, output, errors = self.exec(argv, stdin.encode())
        if code:
            text = (errors or output).decode(errors="replace").strip()
            raise LabError(f"node {self.machine_id}: `{' '.join(argv)}` ended with exit code {code}: {text}")
        return output.decode(errors="replace")

    def salt_call(
        self, function: str, *arguments: str, test: bool = False, pillar: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of Salt in the node, with the checkout's modules and states, without a master.

        Args:
            function: such as `state.single` or `sysctl_profile.read`.
            arguments: as on the command line: `name=value` or plain.
            test: states only say what they would change.
            pillar: pillar data.

        Returns:
            What the function returned.

        Raises:
            LabError: Salt's output is not JSON (the function failed before it could return).
        """
        argv = ["salt-call", "--local", "--out=json", "--log-level=error", f"--module-dirs={CHECKOUT_IN_NODE}/salt"]
        argv += [f"--file-root={CHECKOUT_IN_NODE}/salt", function, *arguments]
        argv += ["test=True"] if test else []
        argv += [f"pillar={json.dumps(pillar)}"] if pillar is not None else []
        code, output, errors = self.exec(argv)
        try:
            return json.loads(output)["local"]
        except (ValueError, KeyError) as err:
            text = (errors or output).decode(errors="replace").strip()
            raise LabError(f"node {self.machine_id}: `{' '.join(argv)}` ended with exit code {code}: {text}") from err


@contextmanager
def scratch_node(
    name: str = "scratch", binds: Sequence[Bind] = (), paths: Paths | None = None
) -> Iterator[ScratchNode]:
    """Boot a throw-away node, and remove it at the end.

    Args:
        name: its host name.
        binds: directories of this machine that it sees, read-only, beside the checkout at /srv/saltern.
        paths: roots of the lab; without them, the environment's.

    Yields:
        The node, booted.

    Raises:
        LabError: no template in the cache (`make lab-start` makes one), or it does not boot.
    """
    machines = NspawnMachines(paths)
    prepare(machines)
    machine_id = free_id(machines)
    card = NetworkCard(0, f"BC:24:11:FF:FF:{machine_id - FIRST_ID:02d}", network.BRIDGE)
    config = MachineConfig(name, 2, 4096, (card,), {}, None, (), (), False)
    machines.clone(TEMPLATE_ID, machine_id, full=False)
    try:
        root = machines.store.root(machine_id)
        (root / NETWORK_FILE).write_text(_network(machine_id))
        (root / "etc/hostname").write_text(f"{name}\n")
        machines.boot(machine_id, config, [Bind(machines.paths.checkout, CHECKOUT_IN_NODE), *binds])
        wait_booted(machines, machine_id)
        yield ScratchNode(machines, machine_id)
    finally:
        machines.stop(machine_id, force=True)
        machines.destroy(machine_id)


def prepare(machines: NspawnMachines) -> None:
    """What every node needs: the network, the machine's kernel settings, the disk and the unpacked template."""
    paths = machines.paths
    network.up()
    kernel_settings.apply(paths.lab / "kernel-settings.json")
    machines.store.mount()
    archive = template.ensure(paths, lambda line: None)
    machines.store.unpack(TEMPLATE_ID, archive, template.origin(paths), template.configure)


def address_of(machine_id: int) -> str:
    """Address of a scratch machine: 9231 has 192.168.100.231."""
    return f"{network.ADDRESS.rpartition('.')[0]}.{machine_id % 1000}"


def _network(machine_id: int) -> str:
    """A scratch node's network, for systemd-networkd: without one, boot would wait for it for two minutes."""
    return (
        f"[Match]\nName=eth0\n[Network]\nAddress={address_of(machine_id)}/{network.PREFIX_LENGTH}\n"
        f"Gateway={network.ADDRESS}\nDNS={network.ADDRESS}\nIPv6AcceptRA=no\n"
    )


def free_id(machines: NspawnMachines) -> int:
    """A free ID, at random: two test runs at once hardly ever choose the same (the clone refuses then)."""
    free = [number for number in range(FIRST_ID, LAST_ID + 1) if not machines.store.exists(number)]
    if not free:
        raise LabError(f"all scratch machines {FIRST_ID}-{LAST_ID} exist: type `make down` to remove what tests left")
    return secrets.choice(free)


def wait_booted(machines: NspawnMachines, machine_id: int) -> None:
    """Wait until a machine's systemd has started everything.

    Raises:
        LabError: not within BOOT_DEADLINE_S.
    """
    deadline = time.monotonic() + BOOT_DEADLINE_S
    state = "no answer"
    while time.monotonic() < deadline:
        try:
            _, output, errors = machines.exec(machine_id, ["systemctl", "is-system-running", "--wait"], b"")
            state = (output or errors).decode(errors="replace").strip()
            if state in ("running", "degraded"):
                return
        except MachineError as err:
            state = str(err)
        # Until the node's D-Bus is up, systemctl cannot wait and fails at once.
        time.sleep(0.1)
    raise LabError(f"machine {machine_id} has not booted in {BOOT_DEADLINE_S} s: {state}")
