"""Content kept under the hash of the recipe that made it: a changed recipe makes just that one again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HASH_LENGTH = 16
CHUNK_BYTES = 1 << 20

Recipe = Mapping[str, Any]


def recipe_hash(recipe: Recipe) -> str:
    """Return the name of the directory that holds what `recipe` makes (hexadecimal, HASH_LENGTH digits)."""
    text = json.dumps(recipe, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def link(source: Path, destination: Path) -> None:
    """Make `destination` the same file as `source` (a hard link: no copy, no second space), replacing it atomically."""
    if destination.exists() and destination.samefile(source):
        return
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.hardlink_to(source)
    temporary.replace(destination)


class Store:
    """Directories named by recipe hash; each is complete or absent, and holds its recipe as recipe.json."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._asked_for: set[str] = set()

    def path(self, recipe: Recipe) -> Path:
        """Return the directory for a recipe, whether or not it exists."""
        name = recipe_hash(recipe)
        self._asked_for.add(name)
        return self.root / name

    def holds(self, recipe: Recipe) -> bool:
        """Tell whether what the recipe makes is there, complete."""
        return (self.path(recipe) / "recipe.json").is_file()

    def prune(self) -> list[Path]:
        """Remove the directories of recipes that this object was never asked for; return them."""
        old = [path for path in self.root.iterdir() if path.is_dir() and path.name not in self._asked_for]
        for path in old:
            shutil.rmtree(path)
        return sorted(old)

    def ensure(self, recipe: Recipe, make: Callable[[Path], None]) -> Path:
        """Return the recipe's directory, made by `make(empty directory)` when it is not there yet.

        A failure of `make` leaves nothing behind, so an existing directory is always a complete one.
        """
        target = self.path(recipe)
        if self.holds(recipe):
            return target
        unfinished = target.with_name(f"{target.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            make(unfinished)
        except BaseException:  # also on Ctrl-C: half a build must not stay behind
            shutil.rmtree(unfinished)
            raise
        (unfinished / "recipe.json").write_text(json.dumps(recipe, indent=1, sort_keys=True) + "\n")
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
        return target
