"""Rows of the table that the product wrote itself: machines that salt-cloud made for names without a row.

One file a row, ``<state_dir>/<cluster>/nodes.d/NAME.yml``. It holds the row as a line of ``nodes`` in cluster.sls does,
so it can be moved there as it is. :mod:`saltern.definition` adds these rows to the operator's own: a name that the
operator's files have, be it with ``null``, is the operator's.

>>> rows = Rows("/var/lib/saltern", "saw-k8s")
>>> rows.add("saw-k8s-w-05", {"role": "worker", "address": "192.168.100.160", ...})
>>> rows.remove("saw-k8s-w-05")
True
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

DIRECTORY = "nodes.d"
# Environment of a salt-cloud -d: whose row stays, because the machine is made again (orchestrate.node_replace).
KEPT_VARIABLE = "SALTERN_KEPT_ROW"
SUFFIX = ".yml"
# RFC 1123, as for every name of the definition; here it also keeps a name from leaving the directory.
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_HEAD = """\
# Written by salt-cloud for a machine without a row in pillar/cluster.sls; removed together with the machine.
# To make it yours (other size, other role), move the line below `nodes` of your cluster.sls and delete this file.
"""


def all_files(state_dir: str | Path) -> list[Path]:
    """The files of the rows of every cluster."""
    return sorted(Path(state_dir).glob(f"*/{DIRECTORY}/*{SUFFIX}"))


class RowError(Exception):
    """A row cannot be added or removed: text says which, why, and what to do."""


class Rows:
    """The rows of one cluster that the product wrote.

    Args:
        state_dir: the installation's state directory (``saltern: {state_dir: ..}`` of the master).
        cluster: the cluster's name.
    """

    def __init__(self, state_dir: str | Path, cluster: str) -> None:
        self.directory = Path(state_dir) / _label(cluster) / DIRECTORY

    def path(self, name: str) -> Path:
        """The file of a row, there or not. Raises RowError for what is no name."""
        return self.directory / f"{_label(name)}{SUFFIX}"

    def files(self) -> list[Path]:
        """The files of all rows, sorted by name; none when the product has written none."""
        return sorted(self.directory.glob(f"*{SUFFIX}"))

    def rows(self) -> dict[str, dict[str, Any]]:
        """All rows: {name: {role, address, cpus, memory_gib, disk_gib, ..}}; their values are not checked here."""
        return {path.name.removesuffix(SUFFIX): _read(path) for path in self.files()}

    def add(self, name: str, row: Mapping[str, Any]) -> Path:
        """Write a row, as a whole or not at all; the same row again changes nothing.

        Args:
            name: the machine.
            row: its fields as in cluster.sls, of plain types.

        Returns: the file.

        Raises: RowError when another row that the product wrote has the same address.
        """
        path = self.path(name)
        with self._lock():
            for other, theirs in self.rows().items():
                if other != name and theirs.get("address") == row["address"]:
                    raise RowError(
                        f"{row['address']} is the address of {other} already ({self.path(other)}): {name} gets no row. "
                        f"If there is no {other} any more: rm {self.path(other)}"
                    )
            _write(path, _HEAD + yaml.safe_dump({name: dict(row)}, default_flow_style=None, sort_keys=False, width=200))
        return path

    def remove(self, name: str) -> bool:
        """Remove a row; returns whether there was one. A row of the operator's own files is not touched."""
        path = self.path(name)
        if not self.directory.is_dir():
            return False
        with self._lock():
            there = path.exists()
            path.unlink(missing_ok=True)
        return there

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One writer at a time; readers need none, since a file is replaced as a whole."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _label(text: str) -> str:
    if not _DNS_LABEL.fullmatch(text):
        raise RowError(f"{text!r} is no DNS label (lower-case letters, digits and inner dashes, 63 at most)")
    return text


def _read(path: Path) -> dict[str, Any]:
    """A file's row; {} for a file that is no row: the definition's check names it with its line."""
    try:
        data = yaml.safe_load(path.read_text())
    except (FileNotFoundError, yaml.YAMLError):
        return {}
    row = data.get(path.name.removesuffix(SUFFIX)) if isinstance(data, dict) else None
    return row if isinstance(row, dict) else {}


def _write(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)
