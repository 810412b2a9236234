"""State on disk: one JSON file per record, written so that a crash leaves the old or the new one, never half of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Store:
    """A directory of JSON records, mode 0700; names may hold slashes (``guests/101``)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Return the file of the record ``name``."""
        return self.directory / f"{name}.json"

    def load(self, name: str) -> Any:
        """Return the record ``name``, or None when there is none."""
        try:
            return json.loads(self.path(name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def save(self, name: str, record: Any) -> None:
        """Write the record ``name`` (readable by its owner only) in one step."""
        write_private(self.path(name), json.dumps(record, indent=1, sort_keys=True).encode())

    def remove(self, name: str) -> None:
        """Remove the record ``name``; one that does not exist is no error."""
        self.path(name).unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        """Return the names of the records in ``folder``, sorted: ``["guests/100", "guests/101"]``."""
        return sorted(f"{folder}/{path.stem}" for path in (self.directory / folder).glob("*.json"))


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads, replacing an old one in one step."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    new.replace(path)
