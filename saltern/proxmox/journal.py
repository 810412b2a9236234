"""What a create has made so far, on disk: so that its failure, or its death, removes exactly that.

One file a machine, `<state_dir>/<cluster>/machines/NAME.json`, written before each act and removed at the end; the
lock beside it tells a create that runs from one that died. No secret is in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from saltern.proxmox import locks


@dataclass
class Record:
    """What one create has made, or was about to make.

    Attributes:
        name: the machine.
        address: address taken from the worker range, or None.
        node, vmid: where the machine is, once a clone was asked for.
        upid: the task that may still run.
        unanswered: a call that may have started a task of which nothing is known: its answer has not come.
        seed_node, seed_volid: the seed image, once its upload was asked for.
        disks, disk_node: its own disks (volume -> why Proxmox left it, if that is known), before it is destroyed, and
            the node that it was on: one of them may be left.
        key: whether a minion key was accepted for it.
        previous_key: the public key that had been accepted under that name before, or None.
    """

    name: str
    address: str | None = None
    node: str | None = None
    vmid: int | None = None
    upid: str | None = None
    unanswered: bool = False
    seed_node: str | None = None
    seed_volid: str | None = None
    disks: dict[str, str] = field(default_factory=dict)
    disk_node: str | None = None
    key: bool = False
    previous_key: str | None = None
    path: Path = field(default=Path(), repr=False)

    @property
    def begun(self) -> bool:
        """Whether a create has written anything down that is not closed."""
        return self.path.exists()

    @property
    def pending(self) -> bool:
        """Whether a task may still bring something that is not there yet."""
        return self.unanswered or self.upid is not None

    @property
    def made_anything(self) -> bool:
        """Whether there is anything to take back on Proxmox or on the master."""
        return bool(self.vmid is not None or self.seed_volid or self.disks or self.key)

    @property
    def told(self) -> list[str]:
        """What it says that was made or taken, as phrases for the operator."""
        parts = [
            (self.vmid, f"machine {self.vmid} on {self.node}"),
            (self.seed_volid, f"seed image {self.seed_volid}"),
            (self.disks, f"disks {', '.join(self.disks)}"),
            (self.key, "minion key"),
            (self.address, f"reservation of {self.address}"),
        ]
        return [phrase for made, phrase in parts if made] or ["its record"]

    def note(self, **changes: Any) -> None:
        """Change fields and write them down before going on."""
        for key, value in changes.items():
            setattr(self, key, value)
        content = {key: value for key, value in asdict(self).items() if key != "path"}
        part = self.path.with_suffix(".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            json.dump(content, out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        part.replace(self.path)

    def close(self) -> None:
        """All is well, or all is taken back: forget it. What is noted from here on begins a new record."""
        self.path.unlink(missing_ok=True)
        vars(self).update(vars(Record(self.name, path=self.path)))


class Journal:
    """The records of one cluster's creates.

    Args:
        directory: made with mode 0700 when first used.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def address_lock(self) -> Path:
        """Held while an address is looked for and noted."""
        return self._directory / "addresses.lock"

    @contextmanager
    def claim(self, name: str, timeout_s: float = 2) -> Iterator[Record]:
        """Hold the machine's record: a fresh one, or what a create that died has left.

        Args:
            name: the machine.
            timeout_s: how long to wait for another process that creates or destroys it. Two seconds at least, not
                none: `unfinished` in another process takes the lock for an instant, to see if it is free.

        Raises: TimedOutError when another process is creating or destroying this machine.
        """
        with locks.one_of([self._lock(name)], timeout_s, f"Creating or destroying {name}"):
            path = self._directory / f"{name}.json"
            yield _read(path) if path.exists() else Record(name, path=path)

    def unfinished(self) -> set[str]:
        """Machines whose create died: what is on Proxmox of them is no machine yet."""
        return {record.name for record in self._records() if not locks.is_held(self._lock(record.name))}

    def in_the_making(self) -> set[str]:
        """Machines whose create runs in another process: the child of a run that was killed works on to its end."""
        return {record.name for record in self._records() if locks.is_held(self._lock(record.name))}

    def begun(self) -> dict[str, Record]:
        """Every record by its machine's name, whether its create died or runs."""
        return {record.name: record for record in self._records()}

    def addresses(self) -> set[str]:
        """Addresses that creates have taken and Proxmox may not know yet."""
        return {record.address for record in self._records() if record.address}

    def _lock(self, name: str) -> Path:
        return self._directory / f"{name}.lock"

    def _records(self) -> list[Record]:
        return [record for path in sorted(self._directory.glob("*.json")) if (record := _read_if_there(path))]


def _read_if_there(path: Path) -> Record | None:
    try:
        return _read(path)
    except FileNotFoundError:  # its create ended since the directory was listed
        return None


def _read(path: Path) -> Record:
    known = {each.name for each in fields(Record)}
    content = json.loads(path.read_text())
    return Record(**{key: value for key, value in content.items() if key in known}, path=path)
