"""What all parts of a run share: the cache, the versions, the Go toolchain, and which vendors' sites answer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from lab.artefacts import golang, recipes, upstream
from lab.artefacts.progress import Progress
from lab.artefacts.store import Store


class Workshop:
    """One run's surroundings.

    Args:
        cache_dir: $SALTERN_CACHE.
        definition: versions.sls as parsed.
        arch: as Debian and Go name it.
        runc_shim: True when the CRI-O bundle's runc is to be the shim.
        progress: where the live lines go.
    """

    def __init__(
        self, cache_dir: Path, definition: Mapping[str, Any], arch: str, runc_shim: bool, progress: Progress
    ) -> None:
        self.cache_dir = cache_dir
        self.artefacts: Mapping[str, Mapping[str, Any]] = definition["artefacts"]
        self.versions = {**recipes.component_versions(definition), "arch": arch}
        self.arch = arch
        self.runc_shim = runc_shim
        self.progress = progress
        self.go = golang.Go(cache_dir / "go", progress.heartbeat)
        self.store = Store(cache_dir / "artefacts")
        self.layouts = Store(cache_dir / "images")

    def filled(self, text: str) -> str:
        """Return a recipe's text with its {placeholders} replaced by versions."""
        return text.format_map(self.versions)

    def answers(self, url: str) -> bool:
        """Tell whether a vendor's site is there; all are asked once a run, when the first is asked for."""
        return upstream.origin(url) in self._answering

    def relative(self, path: Path) -> str:
        """Return a path as the inventory names it."""
        return str(path.relative_to(self.cache_dir))

    @cached_property
    def _answering(self) -> set[str]:
        urls = [self.url(name) for name in self.artefacts] + [image.site for image in recipes.IMAGES]
        asked = {upstream.origin(url) for url in urls}
        answering = upstream.answering(asked)
        self.progress.say(f"vendors' sites that answer: {len(answering)} of {len(asked)}")
        return answering

    def url(self, name: str) -> str:
        """Return the upstream URL of an artefact of versions.sls."""
        pin = self.artefacts[name]
        return str(pin["url"]).format(version=pin["version"], arch=self.arch)
