"""The list of what the artefact cache holds: written by a complete run, read by whoever points nodes at the mirror."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lab.artefacts.errors import ArtefactError


@dataclass(frozen=True)
class Made:
    """One line of what the cache holds.

    Args:
        name: as in versions.sls, or an image's full name, or "debian".
        version: its version or tag.
        size_bytes: of the file; of an image, what a node transfers.
        sha256: of the file; of an image, its manifest's digest.
        origin: "built" or "downloaded".
        path: relative to the cache directory.
        fresh: True when this very run made it.
    """

    name: str
    version: str
    size_bytes: int
    sha256: str
    origin: str
    path: str
    fresh: bool = False


def _file(cache_dir: Path) -> Path:
    return cache_dir / "artefacts" / "inventory.json"


def completed(cache_dir: Path) -> bool:
    """Tell whether a `build.ensure` has ever filled this cache to the end."""
    return _file(cache_dir).is_file()


def read(cache_dir: Path) -> list[Made]:
    """Return what the last complete `build.ensure` left in the cache.

    Raises:
        ArtefactError: there was none.
    """
    path = _file(cache_dir)
    try:
        return [Made(**line) for line in json.loads(path.read_text())]
    except FileNotFoundError as err:
        raise ArtefactError(f"{path} is missing: the artefacts were never completed; type `make build`") from err


def write(cache_dir: Path, made: Sequence[Made]) -> None:
    """Write the list, complete or not at all."""
    unfinished = _file(cache_dir).with_suffix(".new")
    unfinished.write_text(json.dumps([asdict(replace(line, fresh=False)) for line in made], indent=1) + "\n")
    unfinished.replace(_file(cache_dir))
