"""What a machine needs for filling the cache: everything that is missing, at once, each with what to type."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.artefacts import command, golang
from lab.artefacts.errors import ArtefactError, PrerequisiteError

GIB = 1 << 30
# A cold build leaves 19 GB of Go's modules and build results behind until it ends, and 2 GB of programs and images.
DISK_FOR_BUILD_GIB = 24
DISK_FOR_DOWNLOAD_GIB = 4

# Programs that a build runs, and the packages that bring them.
BUILD_TOOLS = {"gcc": "gcc libc6-dev", "pkg-config": "pkg-config", "zstd": "zstd", "skopeo": "skopeo"}


def missing_tools() -> list[str]:
    """Return what the machine lacks for building from modules, one line each with what to type; empty when nothing."""
    findings = []
    try:
        golang.find_go()
    except PrerequisiteError as err:
        findings.append(str(err))
    for tool, packages in BUILD_TOOLS.items():
        if shutil.which(tool) is None:
            findings.append(f"{tool}: not found; apt-get install {packages}")
    if shutil.which("pkg-config") and not _has_libseccomp():
        findings.append("libseccomp's headers: not found, CRI-O links against it; apt-get install libseccomp-dev")
    return findings


def _has_libseccomp() -> bool:
    try:
        command.run(["pkg-config", "--exists", "libseccomp"])
    except ArtefactError:
        return False
    return True


def missing_disk(cache_dir: Path, needed_gib: int) -> list[str]:
    """Return one line when less than `needed_gib` GiB are free for the cache, else none."""
    free = shutil.disk_usage(cache_dir).free
    if free >= needed_gib * GIB:
        return []
    return [
        f"{cache_dir}: {free / GIB:.1f} GiB free, {needed_gib} GiB needed while the artefacts are made; "
        "free some space, or set SALTERN_CACHE to a directory on a larger disk"
    ]


def check_build(cache_dir: Path, go_root: Path) -> None:
    """Refuse before the first build when something that builds need is missing.

    Args:
        cache_dir: where the results go.
        go_root: Go's caches; when they are there already, little more space is needed.

    Raises:
        PrerequisiteError: with every finding.
    """
    needed_gib = DISK_FOR_DOWNLOAD_GIB if go_root.exists() else DISK_FOR_BUILD_GIB
    missing = [*missing_tools(), *missing_disk(cache_dir, needed_gib)]
    if missing:
        findings = "\n".join(f"  - {line}" for line in missing)
        raise PrerequisiteError(f"cannot build the lab's artefacts:\n{findings}")
