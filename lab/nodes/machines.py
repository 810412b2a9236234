"""The machines behind the lab's Proxmox API, as systemd-nspawn containers (the Protocol is lab/proxmox/machines.py)."""

import json
import os
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from lab import host as host_facts
from lab import network, processes
from lab.errors import LabError
from lab.nodes import nspawn, seed
from lab.nodes.cgroups import Cgroups, Limits
from lab.nodes.store import Store
from lab.paths import Paths
from lab.proxmox.machines import Interface, MachineConfig, MachineError, NetworkCard
from lab.shell import attempt, pipe, run

TEMPLATE_ID = 9000
POWER_OFF = signal.SIGRTMIN + 4  # systemd(1): starts poweroff.target
BOOT_DEADLINE_S = 30
SHUTDOWN_DEADLINE_S = 60  # what Proxmox gives a guest, too
KILL_DEADLINE_S = 15
EXEC_DEADLINE_S = 900
LINKS = Path("etc/saltern-lab/links")  # read by files/early.sh


class NspawnMachines:
    """Machines as system containers, each in a btrfs snapshot, all on the lab's bridge.

    What is known of a running machine is on disk (its process by PID and start time), so another process can take over.

    Args:
        paths: roots of the lab; without them, the environment's.
    """

    def __init__(self, paths: Paths | None = None) -> None:
        self.paths = paths or Paths.from_environment()
        self.store = Store(self.paths)
        self.host = host_facts.detect(self.paths)
        self.cgroups = Cgroups(self.host)

    def template_ids(self) -> list[int]:
        """The lab's one template, once it has been unpacked."""
        return [TEMPLATE_ID] if self.store.exists(TEMPLATE_ID) else []

    def clone(self, source_id: int, target_id: int, full: bool) -> None:
        """Make a stopped machine out of another; a full clone is a snapshot, too: btrfs shares nothing that is written.

        Raises:
            MachineError: no source, a target, or no room.
        """
        del full
        try:
            self.store.snapshot(source_id, target_id)
        except LabError as err:
            self.store.delete(target_id)
            raise MachineError(str(err)) from err

    def destroy(self, machine_id: int) -> None:
        """Remove a stopped machine with everything that is left of it.

        Raises:
            MachineError: it is still on, or cannot be removed.
        """
        if self.running(machine_id):
            raise MachineError(f"machine {machine_id} is running: stop it first")
        try:
            self._clear(machine_id)
            self.store.delete(machine_id)
        except LabError as err:
            raise MachineError(str(err)) from err
        self._console(machine_id).unlink(missing_ok=True)
        # Its address may go to another machine with another host key: ssh learns the remaining keys anew.
        (self.paths.lab / "ssh/known_hosts").unlink(missing_ok=True)

    def resize(self, machine_id: int, disk: str, size_bytes: int) -> None:
        """Give a machine a larger disk: all share the room of one file system, which has to have it.

        Raises:
            MachineError: no such machine, or not enough room.
        """
        if not self.store.exists(machine_id):
            raise MachineError(f"machine {machine_id} has no {disk}")
        room = shutil.disk_usage(self.store.mount_point).total
        if size_bytes > room:
            raise MachineError(f"no space for {disk}: {size_bytes} bytes wanted, the nodes' file system has {room}")

    def start(self, machine_id: int, config: MachineConfig) -> None:
        """Boot a machine; returns once its own PID 1 is there.

        Raises:
            MachineError: it runs, has no disk, has cards that the lab cannot give, or ended at once.
        """
        self.boot(machine_id, config, ())

    def boot(self, machine_id: int, config: MachineConfig, binds: Sequence[nspawn.Bind]) -> None:
        """As `start`, with directories of this machine that the node sees.

        Raises:
            MachineError: as for `start`.
        """
        if self.running(machine_id):
            raise MachineError(f"machine {machine_id} is already running")
        if not self.store.exists(machine_id):
            raise MachineError(f"machine {machine_id} has no disk at {self.store.root(machine_id)}")
        if len(config.nets) > 1:
            raise MachineError(
                f"machine {machine_id} has {len(config.nets)} network cards, the lab has one bridge: give it one"
            )
        try:
            self._clear(machine_id)
            root = self.store.root(machine_id)
            seed.insert(root, config.iso_paths)
            _write_links(root, config.nets)
            self._spawn(machine_id, config, root, binds)
        except LabError as err:
            raise MachineError(str(err)) from err

    def stop(self, machine_id: int, force: bool) -> None:
        """Shut a machine down, or pull the plug; returns once it is off and nothing is left of it.

        Raises:
            MachineError: it did not shut down in time.
        """
        process = self._process(machine_id)
        if process:
            leader = nspawn.leader(process)
            if force:
                if leader:
                    _signal(leader, signal.SIGKILL)
                processes.end(process, signal.SIGTERM, KILL_DEADLINE_S)
            elif leader:
                _signal(leader, POWER_OFF)
            if not processes.wait(process, KILL_DEADLINE_S if force else SHUTDOWN_DEADLINE_S):
                raise MachineError("VM quit/powerdown failed - got timeout")
        try:
            self._clear(machine_id)
        except LabError as err:
            raise MachineError(str(err)) from err

    def running(self, machine_id: int) -> bool:
        """Whether a machine is on: one look at /proc."""
        return self._process(machine_id) is not None

    def interfaces(self, machine_id: int) -> list[Interface]:
        """A running machine's network interfaces as it sees them.

        Raises:
            MachineError: it is off, or still on its way up.
        """
        leader = self._answering_leader(machine_id)
        output = attempt(["nsenter", f"--target={leader}", "--net", "--", "ip", "-json", "address", "show"])
        if output.returncode:
            raise MachineError(f"machine {machine_id}: {output.stderr.strip()}")
        return [_interface(link) for link in json.loads(output.stdout or "[]")]

    def exec(self, machine_id: int, argv: list[str], stdin: bytes) -> tuple[int, bytes, bytes]:
        """Run a command inside a running machine, as root, to its end.

        Raises:
            MachineError: it is off, still on its way up, or the command does not end.
        """
        leader = self._answering_leader(machine_id)
        try:
            return pipe(nspawn.enter_command(leader, self.cgroups, argv), stdin, EXEC_DEADLINE_S)
        except LabError as err:
            raise MachineError(f"machine {machine_id}: {err}") from err

    def running_ids(self) -> list[int]:
        """The machines that are on."""
        return [machine_id for machine_id in self.known_ids() if self.running(machine_id)]

    def known_ids(self) -> list[int]:
        """The machines that were started and not stopped since, on or crashed."""
        return sorted(int(path.stem.removeprefix("node-")) for path in self.paths.run.glob("node-*.json"))

    def _spawn(self, machine_id: int, config: MachineConfig, root: Path, binds: Sequence[nspawn.Bind]) -> None:
        limits = Limits(memory_bytes=config.memory_mib * 2**20, cores=config.cores)
        procs_files = self.cgroups.create(_name(machine_id), limits)
        boot = nspawn.boot_command(self.host, _name(machine_id), config.name, root, bool(config.nets), binds)
        console = self._console(machine_id)
        command = nspawn.rebooting(nspawn.joining(procs_files, boot), _name(machine_id))
        child = processes.spawn(command, console, nspawn.ENVIRONMENT)
        process = processes.Process.of(child.pid)
        if process:
            processes.record(self._record(machine_id), process)
        deadline = time.monotonic() + BOOT_DEADLINE_S
        while child.poll() is None and time.monotonic() < deadline:
            if process and nspawn.leader(process):
                return
            # systemd-nspawn tells nobody when it has made the namespaces; it takes a few hundredths of a second.
            time.sleep(0.02)
        if process:
            processes.end(process)
        self._clear(machine_id)
        raise LabError(f"machine {machine_id} did not start: {_tail(console)} (console: {console})")

    def _clear(self, machine_id: int) -> None:
        """Remove what a machine that is off has left behind: a crash leaves all of it, a clean end some of it."""
        name = _name(machine_id)
        network.delete_link(f"vb-{name}")
        propagate = Path("/run/systemd/nspawn/propagate") / name
        if os.path.ismount(propagate):
            run(["umount", "--lazy", propagate])
        if propagate.exists():
            shutil.rmtree(propagate)
        self.cgroups.remove(name)
        self._record(machine_id).unlink(missing_ok=True)

    def _answering_leader(self, machine_id: int) -> int:
        """PID 1 of a machine in which systemd takes orders.

        Raises:
            MachineError: not yet, or the machine is off.
        """
        process = self._process(machine_id)
        leader = nspawn.leader(process) if process else None
        if leader is None or not Path(f"/proc/{leader}/root/run/systemd/private").exists():
            raise MachineError(f"machine {machine_id} does not answer (yet)")
        return leader

    def _process(self, machine_id: int) -> processes.Process | None:
        return processes.recorded(self._record(machine_id))

    def _record(self, machine_id: int) -> Path:
        return self.paths.run / f"{_name(machine_id)}.json"

    def _console(self, machine_id: int) -> Path:
        return self.paths.log / f"{_name(machine_id)}.console"


def _name(machine_id: int) -> str:
    """Name of a machine for systemd-nspawn; with `vb-` in front it still fits into a link's 15 characters."""
    return f"node-{machine_id}"


def _write_links(root: Path, cards: tuple[NetworkCard, ...]) -> None:
    """Tell the node which hardware address its card has; systemd-nspawn calls the card host0."""
    file = root / LINKS
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(f"host0 eth{card.index} {card.mac.lower()}\n" for card in cards))


def _interface(link: dict[str, object]) -> Interface:
    infos = link.get("addr_info")
    addresses = tuple(f"{info['local']}/{info['prefixlen']}" for info in infos) if isinstance(infos, list) else ()
    return Interface(str(link["ifname"]), str(link.get("address", "")).lower(), addresses)


def _signal(pid: int, number: signal.Signals | int) -> None:
    """Send a signal to a process that may have ended since."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _tail(log: Path, lines: int = 5) -> str:
    text = log.read_text(errors="replace") if log.exists() else ""
    return " / ".join(text.strip().splitlines()[-lines:]) or "no output"
