"""Fills the artefact cache: the mirror, the registry's storage and the apt repository. Done once, then only looked at.

from lab.artefacts import build
build.ensure(Path("/var/cache/saltern"), runc_shim=True)
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from lab.artefacts import command, inventory, oci, recipes
from lab.artefacts.images import Images
from lab.artefacts.inventory import Made
from lab.artefacts.mirror import Mirror
from lab.artefacts.programs import Programs
from lab.artefacts.progress import Progress
from lab.artefacts.workshop import Workshop
from lab.paths import CHECKOUT

KEEP_GO_CACHE = "SALTERN_KEEP_GO_CACHE"


def machine_arch() -> str:
    """Return the machine's architecture as Debian and Go name it ("amd64", "arm64")."""
    return command.run(["dpkg", "--print-architecture"]).strip()


def load_versions(path: Path | None = None) -> dict[str, Any]:
    """Return versions.sls as parsed; the checkout's own unless told."""
    loaded: dict[str, Any] = yaml.safe_load((path or CHECKOUT / "pillar" / "versions.sls").read_text())
    return loaded


def ensure(
    cache_dir: Path,
    *,
    runc_shim: bool = False,
    arch: str | None = None,
    versions_file: Path | None = None,
    keep_go_cache: bool | None = None,
    prune: bool = False,
    progress: Progress | None = None,
) -> list[Made]:
    """Make the artefact cache complete and return what it holds. A second call makes nothing and takes no time.

    Args:
        cache_dir: $SALTERN_CACHE. Filled: mirror/, registry/, artefacts/, images/.
        runc_shim: True when the machine lacks CAP_SYS_RESOURCE (lab.host knows): the bundle's runc is then the shim.
        arch: "amd64" or "arm64"; the machine's own unless told.
        versions_file: versions.sls; the checkout's own unless told.
        keep_go_cache: False drops Go's caches after a complete build, True keeps them; unless told they are kept
            when the environment variable SALTERN_KEEP_GO_CACHE is set or the file go/keep exists (for who changes
            recipes), and dropped otherwise.
        prune: True removes what older recipes left in artefacts/, images/ and registry/.
        progress: where the live lines go; stderr unless told.

    Raises:
        PrerequisiteError: Go, a tool or disk space is missing; all findings at once.
        ChecksumError: a vendor's file is not the pinned one.
        ArtefactError: an artefact can be neither downloaded nor built.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    progress = progress or Progress()
    with _alone(cache_dir / ".artefacts.lock", progress):
        workshop = Workshop(cache_dir, load_versions(versions_file), arch or machine_arch(), runc_shim, progress)
        made = _fill(workshop)
        if prune:
            _prune(workshop)
        if workshop.go.root.exists() and not _kept(workshop.go.root, keep_go_cache):
            progress.say(f"removing Go's caches in {workshop.go.root}: the build is complete")
            workshop.go.drop_caches()
    return made


def _fill(workshop: Workshop) -> list[Made]:
    """Make what is missing, in the order in which a lab needs it, and write the inventory."""
    programs = Programs(workshop)
    mirror, images = Mirror(workshop, programs), Images(workshop, programs)
    steps: list[Callable[[], Made | None]] = [
        *(partial(mirror.file, name) for name in workshop.artefacts),
        mirror.repository,
        *(partial(images.image, image) for image in recipes.IMAGES),
    ]
    workshop.progress.total = len(steps)
    made = [line for step in steps if (line := step()) is not None]
    inventory.write(workshop.cache_dir, made)
    return made


def _prune(workshop: Workshop) -> None:
    old = [*workshop.store.prune(), *workshop.layouts.prune()]
    blobs = oci.prune(workshop.cache_dir / "registry")
    workshop.progress.say(f"removed {len(old)} results of older recipes and {blobs} blobs of the registry")


def _kept(go_root: Path, told: bool | None) -> bool:
    if told is not None:
        return told
    return bool(os.environ.get(KEEP_GO_CACHE)) or (go_root / "keep").exists()


@contextmanager
def _alone(lock: Path, progress: Progress) -> Iterator[None]:
    """Hold the cache's lock: two builds at once would do all work twice."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(f"another build holds {lock}; waiting for it to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
