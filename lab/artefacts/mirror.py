"""The mirror: every file of versions.sls under its upstream host and path, and the nodes' apt repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lab.artefacts import bundle, charts, debs, prerequisites, recipes, upstream
from lab.artefacts.errors import PrerequisiteError, UnreachableError
from lab.artefacts.inventory import Made
from lab.artefacts.programs import Programs
from lab.artefacts.store import Recipe, link, sha256_of
from lab.artefacts.tarballs import Entry, write_tar_gz
from lab.artefacts.workshop import Workshop


@dataclass(frozen=True)
class _Kept:
    """A file of the store: where it is, how it came, and whether it came just now."""

    path: Path
    origin: str
    fresh: bool


class Mirror:
    """Fills $SALTERN_CACHE/mirror."""

    def __init__(self, workshop: Workshop, programs: Programs) -> None:
        self.workshop = workshop
        self.programs = programs

    def file(self, name: str) -> Made | None:
        """Make one artefact of versions.sls available; None when it can be neither downloaded nor built.

        Raises:
            ChecksumError: the vendor's file is not the pinned one.
            ArtefactError: the build failed.
        """
        kept = self._downloaded(name) or self._built(name)
        if kept is None:
            self.workshop.progress.skip(f"{name}: left out ({recipes.UNAVAILABLE[name]})")
            return None
        parts = urlsplit(self.workshop.url(name))
        destination = self.workshop.cache_dir / "mirror" / parts.netloc / parts.path.lstrip("/")
        link(kept.path, destination)
        version, where = str(self.workshop.artefacts[name]["version"]), self.workshop.relative(destination)
        return Made(name, version, kept.path.stat().st_size, _sum_beside(kept.path), kept.origin, where, kept.fresh)

    def _downloaded(self, name: str) -> _Kept | None:
        """Return the vendor's file: kept from before, or fetched if its site answers and its checksum is pinned."""
        sha256 = self._pinned_sum(name)
        if sha256 is None or (name == "crio" and self.workshop.runc_shim):  # the shim is not in the vendor's bundle
            return None
        url = self.workshop.url(name)
        recipe = {"kind": "download", "sha256": sha256}
        file = self.workshop.store.path(recipe) / _base_name(url)
        if self.workshop.store.holds(recipe):
            self.workshop.progress.skip()
            return _Kept(file, "downloaded", fresh=False)
        if self._has_built(name) or not self.workshop.answers(url):
            return None
        return _Kept(file, "downloaded", fresh=True) if self._fetch(name, url, sha256, recipe) else None

    def _pinned_sum(self, name: str) -> str | None:
        sums = self.workshop.artefacts[name].get("sha256", {})
        found: str | None = sums.get(self.workshop.arch) or sums.get("any")
        return found

    def _fetch(self, name: str, url: str, sha256: str, recipe: Recipe) -> bool:
        """Download into the store; tell whether it came (what does not come is built)."""
        if lack := prerequisites.missing_disk(self.workshop.cache_dir, prerequisites.DISK_FOR_DOWNLOAD_GIB):
            raise PrerequisiteError(lack[0])
        try:
            with self.workshop.progress.component(name, f"downloading {url}"):
                self.workshop.store.ensure(recipe, lambda into: _download(url, sha256, into / _base_name(url)))
        except UnreachableError as err:
            self.workshop.progress.retry(f"{name}: {err}; not from there")
            return False
        return True

    def _has_built(self, name: str) -> bool:
        return name in recipes.FILES and self.workshop.store.holds(self.recipe(name))

    def _built(self, name: str) -> _Kept | None:
        if name not in recipes.FILES:
            return None
        recipe = self.recipe(name)
        file = self.workshop.store.path(recipe) / _base_name(self.workshop.url(name))
        if self.workshop.store.holds(recipe):
            self.workshop.progress.skip()
            return _Kept(file, "built", fresh=False)
        with self.workshop.progress.component(name, "building"):
            self.workshop.store.ensure(recipe, lambda into: self._make(name, into / file.name))
        return _Kept(file, "built", fresh=True)

    def recipe(self, name: str) -> Recipe:
        """Return what decides a built file; the programs in it by the hashes of their own recipes."""
        match recipes.FILES[name]:
            case recipes.Plain(binary):
                return {"kind": "plain", "binary": self.programs.hashes({name: binary})[name]}
            case recipes.Packed(members):
                return {"kind": "packed", "members": self.programs.hashes(self._filled(members))}
            case recipes.Bundle():
                hashes = self.programs.hashes({program: program for program in BUNDLE_PROGRAMS})
                return {"kind": "bundle", "members": hashes, "configuration": dict(bundle.CONFIGURATION)}
            case recipes.Chart() as chart:
                vendored = {key: self.workshop.filled(module) for key, (module, _) in chart.vendored.items()}
                return {"kind": "chart", "module": self.workshop.filled(chart.module), "vendored": vendored}

    def _filled(self, members: Mapping[str, str]) -> dict[str, str]:
        return {self.workshop.filled(path): binary for path, binary in members.items()}

    def _make(self, name: str, output: Path) -> None:
        match recipes.FILES[name]:
            case recipes.Plain(binary):
                link(self.programs.file(binary), output)
            case recipes.Packed(members):
                packed = self._filled(members).items()
                write_tar_gz(output, [Entry(path, source=self.programs.file(binary)) for path, binary in packed])
            case recipes.Bundle():
                files = {program: self.programs.file(program) for program in BUNDLE_PROGRAMS}
                write_tar_gz(output, bundle.entries(files))
            case recipes.Chart() as chart:
                self._pack_chart(chart, output)
        _write_sum(output)

    def _pack_chart(self, chart: recipes.Chart, output: Path) -> None:
        workshop, module = self.workshop, recipes.GO_MODULES[chart.name]
        sources = workshop.go.sources(workshop.filled(chart.module))
        vendored = {
            name: workshop.go.sources_of(module, workshop.filled(required), workshop.versions) / directory
            for name, (required, directory) in chart.vendored.items()
        }
        charts.pack(sources / chart.directory, chart.name, workshop.versions[chart.name], vendored, output)

    def repository(self) -> Made:
        """Make the flat apt repository of the nodes' packages available as mirror/debian."""
        workshop = self.workshop
        recipe = {"kind": "flat apt repository", "packages": list(recipes.NODE_PACKAGES), "arch": workshop.arch}
        home, fresh = workshop.store.path(recipe), not workshop.store.holds(recipe)
        if fresh:
            with workshop.progress.component("debian", "downloading packages"):
                workshop.store.ensure(recipe, _make_repository)
        else:
            workshop.progress.skip()
        destination = workshop.cache_dir / "mirror" / "debian"
        _serve_directory(home, destination)
        sizes = [deb.stat().st_size for deb in home.glob("*.deb")]
        index, where = sha256_of(home / "Packages"), workshop.relative(destination)
        return Made("debian", f"{len(sizes)} packages", sum(sizes), index, "downloaded", where, fresh)


BUNDLE_PROGRAMS = (*bundle.PROGRAMS, *recipes.CNI_PLUGINS)


def _base_name(url: str) -> str:
    return url.rsplit("/", 1)[1]


def _make_repository(into: Path) -> None:
    debs.download_closure(recipes.NODE_PACKAGES, into)
    debs.write_index(into)


def _serve_directory(home: Path, destination: Path) -> None:
    """Make `destination` hold the same files as `home`, and nothing else."""
    wanted = {file.name for file in home.iterdir() if file.name != "recipe.json"}
    for name in sorted(wanted):
        link(home / name, destination / name)
    for stale in sorted({file.name for file in destination.iterdir()} - wanted):
        (destination / stale).unlink()


def _download(url: str, sha256: str, output: Path) -> None:
    upstream.download(url, sha256, output)
    _write_sum(output)


def _write_sum(path: Path) -> None:
    """Keep a file's checksum beside it: summing 400 MB again on every run would take seconds."""
    path.with_name("sha256").write_text(sha256_of(path))


def _sum_beside(path: Path) -> str:
    return path.with_name("sha256").read_text()
