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


def missing_disk(cache_dir: Path, needed_gib: float) -> list[str]:
    """Return one line when less than `needed_gib` GiB are free for the cache, else none."""
    free = shutil.disk_usage(cache_dir).free
    if free >= needed_gib * GIB:
        return []
    return [
        f"{cache_dir}: {free / GIB:.1f} GiB free, {needed_gib:.0f} GiB needed while the artefacts are made; "
        "free some space, or set SALTERN_CACHE to a directory on a larger disk"
    ]


def held_by_build_gib(go_root: Path) -> float:
    """Return what Go's modules and build results take up in GiB: left by an interrupted build, or kept on purpose."""
    blocks = sum(file.lstat().st_blocks for file in go_root.rglob("*"))
    return blocks * 512 / GIB  # stat(2) counts in 512 bytes


def disk_for_build_gib(held_gib: float) -> float:
    """Return the free space that a build needs until it ends, in GiB.

    Args:
        held_gib: what an earlier build has left in Go's caches (`held_by_build_gib`); it goes on from there.
    """
    return max(DISK_FOR_DOWNLOAD_GIB, DISK_FOR_BUILD_GIB - held_gib)


def check_build(cache_dir: Path, go_root: Path) -> None:
    """Refuse before the first build when something that builds need is missing.

    Args:
        cache_dir: where the results go.
        go_root: Go's caches; what is in them needs no more space.

    Raises:
        PrerequisiteError: with every finding.
    """
    missing = [*missing_tools(), *missing_disk(cache_dir, disk_for_build_gib(held_by_build_gib(go_root)))]
    if missing:
        findings = "\n".join(f"  - {line}" for line in missing)
        raise PrerequisiteError(f"cannot build the lab's artefacts:\n{findings}")
