"""What the lab's overlay of the definition says about artefacts: sums of what was built, and what is switched off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.artefacts import build, inventory, recipes


def versions(cache_dir: Path, versions_file: Path | None = None) -> dict[str, Any]:
    """Return the lab's versions.sls: merged over the checkout's, it names the files that the mirror really serves.

    Args:
        cache_dir: $SALTERN_CACHE after a complete `build.ensure`.
        versions_file: versions.sls; the checkout's own unless told.

    Returns:
        {"artefacts": {name: {"sha256": {arch: hex}}}} for what was built; the CRI-O bundle also says which of
        upstream's members it lacks ("omit"). What was downloaded needs no line: its pinned sum holds.
    """
    pins = build.load_versions(versions_file)["artefacts"]
    built = [made for made in inventory.read(cache_dir) if made.origin == "built" and made.name in pins]
    entries: dict[str, Any] = {made.name: {"sha256": _sums(made, pins[made.name])} for made in built}
    if "crio" in entries:
        entries["crio"]["omit"] = list(recipes.BUNDLE_OMITS)
    return {"artefacts": entries}


def disabled(cache_dir: Path, versions_file: Path | None = None) -> list[str]:
    """Return the artefacts that the mirror does not have: `artefacts.disabled` of the lab's cluster.sls."""
    held = {made.name for made in inventory.read(cache_dir)}
    return [name for name in build.load_versions(versions_file)["artefacts"] if name not in held]


def _sums(made: inventory.Made, pin: dict[str, Any]) -> dict[str, str]:
    """Return {arch: sum}; "any" for what is the same on all architectures, as the pin itself says."""
    key = "any" if made.name.endswith("-chart") else build.machine_arch()
    return {key: made.sha256}
