"""Making one machine: clone, identity, seed image, one config call, disk, start, and the wait for its answer."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from saltern.proxmox import inventory, locks, machine, remove, seed
from saltern.proxmox.api import Image, Proxmox
from saltern.proxmox.errors import (
    UNANSWERED,
    AgentNotRunningError,
    BusyError,
    MachineIdTakenError,
    MachineSilentError,
    NotFoundError,
    PermissionDeniedError,
    ProxmoxError,
)
from saltern.proxmox.inventory import Inventory, Machine
from saltern.proxmox.journal import Journal, Record
from saltern.proxmox.remove import Keys, Outcome, persistently

if TYPE_CHECKING:
    from saltern.model import MachineSpec

_ANSWER_STEP_S = 10.0


@dataclass(frozen=True)
class Limits:
    """How long each step may take, in seconds."""

    task_s: float = 120
    full_clone_s: float = 3600
    slot_s: float = 3600
    answer_s: float = 300


@dataclass(frozen=True)
class Order:
    """What every machine of one create call has in common.

    Attributes:
        operator: account on the machine.
        master: the Salt master's address, as the machine reaches it.
        parallel_clones: clones of one template that may run at once.
        answer: what proves that the machine is ready: its minion, or its guest agent with the defined address.
        limits: time limits.
    """

    operator: seed.Operator
    master: str
    parallel_clones: int = 2
    answer: Literal["minion", "agent"] = "minion"
    limits: Limits = field(default=Limits())


class Minions(Keys, Protocol):
    """The master's side of a new minion."""

    def ready(self, name: str) -> None:
        """Make sure that the minion could be accepted and heard. Raises: ProxmoxError saying what is in the way."""

    def new_keys(self) -> tuple[str, str]:
        """A new key pair: (private PEM, public PEM)."""

    def accepted(self, name: str) -> str | None:
        """The public key accepted for that minion, or None."""

    def master_public_key(self) -> str:
        """The master's public key, PEM."""

    def listening(self, name: str) -> AbstractContextManager[Callable[[float], bool]]:
        """Listen for the minion's start from now on; yields answered(timeout_s) -> whether it has."""


@dataclass(frozen=True)
class Created:
    """The result of a create.

    Attributes:
        machine: the machine on Proxmox.
        address: its address.
        new: False when it existed before.
        row: the file that its row of the table was written to, if it had none.
        differences: of a machine that existed, from the definition: {setting: (actual, defined)}.
    """

    machine: Machine
    address: str
    new: bool
    row: Path | None = None
    differences: dict[str, tuple[str, str]] = field(default_factory=dict)


class CreateFailedError(Exception):
    """A create that failed, and what was taken back."""

    def __init__(self, name: str, cause: BaseException, outcome: Outcome) -> None:
        super().__init__(name, cause, outcome)
        self.name = name
        self.cause = cause
        self.outcome = outcome
        self.codes = getattr(cause, "codes", ("machine-not-created",))

    def __str__(self) -> str:
        return f"{self.name} was not created. {self.cause}\n{self.outcome}"


class Place(Protocol):
    """What a machine is to be, and where that is written down."""

    def specify(self, record: Record, existing: Machine | None) -> MachineSpec:
        """Give the machine's specification; may note an address in the record."""

    def publish(self, spec: MachineSpec) -> Path | None:
        """The machine is made: give it a row of the table if it has none. Returns: the file that was written."""


Announce = Callable[[str, str, str], None]


class Creation:
    """Creates machines over one connection.

    Args:
        api: the connection.
        order: what the machines have in common.
        minions: the master's side.
        journal: records of creates.
        slot_directory: where processes of this master share the right to clone.
        announce: told the name, the step (mending, requesting, seeding, configuring, starting, waiting, removing) and
            what happens, in a few words.
        pause: sleeps that many seconds.
    """

    def __init__(
        self,
        api: Proxmox,
        order: Order,
        minions: Minions,
        journal: Journal,
        slot_directory: Path,
        announce: Announce,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.api = api
        self.order = order
        self.minions = minions
        self.journal = journal
        self.slot_directory = slot_directory
        self.announce = announce
        self.pause = pause

    def create(self, name: str, place: Place) -> Created:
        """Make the machine, unless it exists: then compare it, and change nothing.

        Args:
            name: the machine's name, which is its minion ID too.
            place: gives the machine's specification, and keeps it.

        Another process that is making it is waited for.

        Raises: CreateFailedError when something had been begun; ProxmoxError before.
        """
        with self.journal.claim(name, self.order.limits.answer_s + self.order.limits.task_s) as record:
            self._mend(record)
            found = inventory.read(self.api)
            existing = found.find(name)
            if existing:
                return self._compared(existing, place.specify(record, existing))
            with self._taken_back_on_failure(record):
                spec = place.specify(record, None)
                created = self._made(record, spec, found)
                # Before the record, which holds the address until the row does.
                row = place.publish(spec)
            record.close()
            return Created(created, str(spec.address), new=True, row=row)

    def _mend(self, record: Record) -> None:
        """Remove what a create that died has left."""
        if not record.made_anything:
            return
        self.announce(record.name, "mending", "removing what an earlier create left unfinished")
        outcome = remove.made(self.api, record, self.minions, self.pause)
        if outcome.left:
            raise CreateFailedError(record.name, UnmendedError(), outcome)

    def _compared(self, existing: Machine, spec: MachineSpec) -> Created:
        found = machine.differences(spec, inventory.config(self.api, existing))
        return Created(existing, str(spec.address), new=False, differences=found)

    @contextmanager
    def _taken_back_on_failure(self, record: Record) -> Iterator[None]:
        try:
            yield
        except BaseException as err:  # an interrupt leaves as little behind as an error; both go on to the caller
            self.announce(record.name, "removing", "failed: removing what was made")
            outcome = remove.made(self.api, record, self.minions, self.pause)
            if isinstance(err, Exception):
                raise CreateFailedError(record.name, err, outcome) from err
            raise

    def _made(self, record: Record, spec: MachineSpec, found: Inventory) -> Machine:
        self.minions.ready(spec.name)
        template = found.template(spec.template, spec.proxmox_node)
        template_config = inventory.config(self.api, template)
        mac = machine.new_mac()
        created = self._cloned(record, spec, template)
        drive = machine.seed_drive(template_config)
        volid = self._seeded(record, spec, mac)
        self._configured(record, spec, created, mac, {drive: f"{volid},media=cdrom"})
        self._grown(record, spec, created, template_config)
        with self.minions.listening(spec.name) as answered:
            self.announce(spec.name, "starting", "starting")
            persistently(lambda: self._task(record, "POST", f"{created.path}/status/start"), self.pause)
            self.announce(spec.name, "waiting", f"started; waiting for its {self.order.answer}")
            self._wait_for_answer(spec, created, answered)
        self._unseeded(record, created, drive)
        return created

    def _cloned(self, record: Record, spec: MachineSpec, template: Machine) -> Machine:
        """Clone the template, taking turns with other processes."""
        slots = locks.slots(self.slot_directory, f"clone-{template.node}-{template.vmid}", self.order.parallel_clones)
        waiting_for = f"Waiting for one of {len(slots)} turns to clone {template.name}"

        def attempt() -> int:
            with locks.one_of(slots, self.order.limits.slot_s, waiting_for, self.pause):
                return self._clone_once(record, spec, template)

        vmid = persistently(attempt, self.pause)
        return Machine(
            vmid, spec.name, spec.proxmox_node, "stopped", False, spec.cpus, spec.memory_mib, float(spec.disk_gib)
        )

    def _clone_once(self, record: Record, spec: MachineSpec, template: Machine) -> int:
        full = spec.clone == "full"
        vmid = int(self.api.call("GET", "cluster/nextid"))
        self.announce(
            spec.name, "requesting", f"cloning {template.name} ({spec.clone}) to {vmid} on {spec.proxmox_node}"
        )
        record.note(node=spec.proxmox_node, vmid=vmid, unanswered=True)
        try:
            self._task(
                record,
                "POST",
                f"{template.path}/clone",
                timeout_s=self.order.limits.full_clone_s if full else self.order.limits.task_s,
                newid=vmid,
                name=spec.name,
                full=int(full),
                storage=spec.storage if full else None,
                target=spec.proxmox_node if spec.proxmox_node != template.node else None,
                pool=spec.pool,
            )
        except (BusyError, MachineIdTakenError):
            # Proxmox has removed its own half of such a clone; the number may be another machine's by now.
            record.note(vmid=None, upid=None)
            raise
        return vmid

    def _seeded(self, record: Record, spec: MachineSpec, mac: str) -> str:
        """Make and accept the minion's keys, and upload the seed image. Returns: the image's volume."""
        minions = self.minions
        private_key, public_key = minions.new_keys()
        before = minions.accepted(spec.name)
        record.note(key=True, previous_key=before)
        minions.accept(spec.name, public_key)
        identity = seed.MinionIdentity(self.order.master, private_key, public_key, minions.master_public_key())
        content = seed.image(spec, mac, identity, self.order.operator, f"{spec.name}-{secrets.token_hex(8)}")
        image = Image(machine.seed_name(spec.name), content)
        volid = f"{spec.iso_storage}:iso/{image.name}"
        record.note(seed_node=spec.proxmox_node, seed_volid=volid, unanswered=True)
        self.announce(spec.name, "seeding", f"uploading its seed image to {spec.iso_storage}")
        path = f"nodes/{spec.proxmox_node}/storage/{spec.iso_storage}/upload"
        try:
            persistently(lambda: self._task(record, "POST", path, content="iso", filename=image), self.pause)
        except PermissionDeniedError:
            # Nothing came there, and who may not upload may not delete: looking for it would fail for ever.
            record.note(seed_node=None, seed_volid=None)
            raise
        return volid

    def _configured(
        self, record: Record, spec: MachineSpec, created: Machine, mac: str, seed_drive: dict[str, str]
    ) -> None:
        operator = self.order.operator
        wanted = machine.settings(spec, mac, operator.user, list(operator.ssh_keys), seed_drive)
        self.announce(spec.name, "configuring", f"setting {spec.cpus} CPUs, {spec.memory_mib} MiB, {spec.address}")
        persistently(lambda: self._task(record, "POST", f"{created.path}/config", **wanted), self.pause)

    def _grown(self, record: Record, spec: MachineSpec, created: Machine, template_config: dict[str, Any]) -> None:
        """Enlarge the disk that the clone got from its template; it is never made smaller."""
        device = spec.disk_device
        actual_gib = machine.disk_gib(template_config, device)
        if not actual_gib:
            raise NotFoundError(
                f"Resizing the disk of {spec.name}",
                f"the template {spec.template} has no disk {device}",
                "Write the template's system disk in proxmox.disk_device in pillar/cluster.sls.",
            )
        if spec.disk_gib > actual_gib:
            size = f"{spec.disk_gib}G"
            persistently(
                lambda: self._task(record, "PUT", f"{created.path}/resize", disk=device, size=size), self.pause
            )

    def _wait_for_answer(self, spec: MachineSpec, created: Machine, answered: Callable[[float], bool]) -> None:
        deadline = time.monotonic() + self.order.limits.answer_s
        while not self._answers(spec, created, answered):
            status = self.api.call("GET", f"{created.path}/status/current")["status"]
            if status != "running" or time.monotonic() >= deadline:
                raise self._no_answer(spec, created, status)

    def _answers(self, spec: MachineSpec, created: Machine, answered: Callable[[float], bool]) -> bool:
        if self.order.answer == "minion":
            return answered(min(_ANSWER_STEP_S, self.order.limits.answer_s))
        if str(spec.address) in _agent_addresses(self.api, created):
            return True
        self.pause(2.0)  # the guest agent starts late in the boot, and cannot be waited for but by asking
        return False

    def _no_answer(self, spec: MachineSpec, created: Machine, status: str) -> ProxmoxError:
        reported = ", ".join(_agent_addresses(self.api, created)) or "nothing"
        what = "its minion" if self.order.answer == "minion" else f"its guest agent with {spec.address}"
        return MachineSilentError(
            f"Waiting for {spec.name} ({created.vmid} on {created.node})",
            f"{what} did not answer within {self.order.limits.answer_s:.0f} s; Proxmox has the machine as {status}, "
            f"its guest agent reports {reported}",
            f"Look at its console during the next try: does it boot, does it get {spec.address}, does it have "
            f"cloud-init and salt-minion, and does it reach {self.order.master} on ports 4505 and 4506? A slow one "
            "needs a larger answer_timeout_s in the provider file.",
        )

    def _unseeded(self, record: Record, created: Machine, drive: str) -> None:
        """Take the seed image out of the machine and off the storage: it holds the minion's private key."""
        assert record.seed_node and record.seed_volid  # noqa: S101  # _seeded has noted both
        node, volid = record.seed_node, record.seed_volid
        eject: dict[str, Any] = {drive: machine.NO_DISC}
        persistently(lambda: self._task(record, "POST", f"{created.path}/config", **eject), self.pause)
        remove.image(self.api, node, volid, self.pause)
        record.note(seed_volid=None)

    def _task(self, record: Record, method: str, path: str, timeout_s: float | None = None, **parameters: Any) -> None:
        """Make a call and wait for its task, noting the task while it runs."""
        try:
            upid = self.api.call(method, path, **parameters)
        except UNANSWERED:
            raise  # it may have been carried out all the same: what is noted as unanswered stays so
        except ProxmoxError:
            record.note(unanswered=False)
            raise
        if upid is None:
            return
        record.note(upid=upid, unanswered=False)
        self.api.finish(f"{method} {path}", upid, timeout_s or self.order.limits.task_s)
        record.note(upid=None)


class UnmendedError(Exception):
    """What an earlier create left could not be removed."""

    codes = ("machine-leftover",)

    def __str__(self) -> str:
        return "An earlier create of this machine ended half way, and what it made could not be removed."


def _agent_addresses(api: Proxmox, created: Machine) -> list[str]:
    try:
        return inventory.agent_addresses(api, created)
    except AgentNotRunningError:
        return []
