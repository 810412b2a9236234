"""Fills the artefact cache: the mirror, the registry's storage and the apt repository. Done once, then only looked at.

from lab.artefacts import build
build.ensure(Path("/var/cache/saltern"), runc_shim=True)
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from lab.artefacts import bundle, c_programs, charts, cilium_base, command, debs, golang, oci, recipes, upstream
from lab.artefacts.errors import ArtefactError, PrerequisiteError, UnreachableError
from lab.artefacts.progress import Progress
from lab.artefacts.store import Recipe, Store, link, recipe_hash, sha256_of
from lab.artefacts.tarballs import Entry, tree, write_tar_gz
from lab.paths import CHECKOUT

GIB = 1 << 30
# A cold build: modules and build results of Go (dropped afterwards), programs and images. Measured, with some room.
DISK_FOR_BUILD_GIB = 30
DISK_FOR_DOWNLOAD_GIB = 6
KEEP_GO_CACHE = "SALTERN_KEEP_GO_CACHE"

# Programs that a build runs, and the packages that bring them.
BUILD_TOOLS = {"gcc": "gcc libc6-dev", "pkg-config": "pkg-config", "zstd": "zstd", "skopeo": "skopeo"}

SHIM_SOURCES = Path(__file__).parent / "runc_shim"


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
    progress: Progress | None = None,
) -> list[Made]:
    """Make the artefact cache complete and return what it holds. A second call makes nothing and takes no time.

    Args:
        cache_dir: $SALTERN_CACHE. Filled: mirror/, registry/, artefacts/, images/.
        runc_shim: True when the machine lacks CAP_SYS_RESOURCE (lab.host knows): the bundle's runc is then the shim.
        arch: "amd64" or "arm64"; the machine's own unless told.
        versions_file: versions.sls; the checkout's own unless told.
        keep_go_cache: False drops Go's caches after a complete build; unless told, the environment variable
            SALTERN_KEEP_GO_CACHE decides (set and not empty: kept).
        progress: where the live lines go; stderr unless told.

    Raises:
        PrerequisiteError: Go, a tool or disk space; all findings at once.
        ArtefactError: an artefact can be neither downloaded nor built.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    progress = progress or Progress()
    with _alone(cache_dir / ".artefacts.lock", progress):
        filler = _Filler(cache_dir, load_versions(versions_file), arch or machine_arch(), runc_shim, progress)
        made = filler.fill()
        keep = bool(os.environ.get(KEEP_GO_CACHE)) if keep_go_cache is None else keep_go_cache
        if not keep and filler.go.root.exists():
            progress.say(f"removing Go's caches in {filler.go.root}: the build is complete")
            filler.go.drop_caches()
    return made


def inventory(cache_dir: Path) -> list[Made]:
    """Return what the last complete `ensure` left in the cache.

    Raises:
        ArtefactError: there was none.
    """
    path = cache_dir / "artefacts" / "inventory.json"
    try:
        return [Made(**line) for line in json.loads(path.read_text())]
    except FileNotFoundError as err:
        raise ArtefactError(f"{path} is missing: the artefacts were never completed; type `make build`") from err


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


class _Filler:
    """One run over everything that the cache should hold."""

    def __init__(
        self, cache_dir: Path, definition: Mapping[str, Any], arch: str, runc_shim: bool, progress: Progress
    ) -> None:
        self.cache_dir = cache_dir
        self.definition = definition
        self.versions = {**recipes.component_versions(definition), "arch": arch}
        self.arch = arch
        self.runc_shim = runc_shim
        self.progress = progress
        self.go = golang.Go(cache_dir / "go", progress.heartbeat)
        self.files = Store(cache_dir / "artefacts")
        self.images = Store(cache_dir / "images")
        self._answering: set[str] | None = None
        self._checked = False

    # -- everything --------------------------------------------------------------------------------

    def fill(self) -> list[Made]:
        """Make what is missing, in the order in which a lab needs it, and write the inventory."""
        steps = [*self._file_steps(), self._repository, *self._image_steps()]
        self.progress.total = len(steps)
        made = [line for step in steps if (line := step()) is not None]
        _write_inventory(self.cache_dir / "artefacts" / "inventory.json", made)
        return made

    def _file_steps(self) -> list[Callable[[], Made | None]]:
        artefacts = self.definition["artefacts"]
        return [lambda name=name: self._file(name, artefacts[name]) for name in artefacts]  # type: ignore[misc]

    def _image_steps(self) -> list[Callable[[], Made | None]]:
        return [lambda image=image: self._image(image) for image in recipes.IMAGES]  # type: ignore[misc]

    # -- files for the mirror ----------------------------------------------------------------------

    def _file(self, name: str, pin: Mapping[str, Any]) -> Made | None:
        url = pin["url"].format(version=pin["version"], arch=self.arch)
        sha256 = pin.get("sha256", {}).get(self.arch) or pin.get("sha256", {}).get("any")
        found = self._downloaded(name, url, sha256) or self._built_file(name, url)
        if found is None:
            self.progress.done += 1
            self.progress.say(f"{name}: left out ({recipes.UNAVAILABLE[name]})")
            return None
        path, origin, fresh = found
        parts = urlsplit(url)
        destination = self.cache_dir / "mirror" / parts.netloc / parts.path.lstrip("/")
        link(path, destination)
        size, sum_ = path.stat().st_size, _sum_beside(path)
        return Made(name, str(pin["version"]), size, sum_, origin, self._relative(destination), fresh)

    def _downloaded(self, name: str, url: str, sha256: str | None) -> tuple[Path, str, bool] | None:
        """Return the vendor's file: kept from before, or fetched if its site answers and its checksum is pinned."""
        if sha256 is None or (name == "crio" and self.runc_shim):  # with the shim, the bundle has a runc of ours
            return None
        recipe = {"kind": "download", "sha256": sha256}
        file_name = url.rsplit("/", 1)[1]
        if self.files.holds(recipe):
            self.progress.done += 1
            return self.files.path(recipe) / file_name, "downloaded", False
        if self._has_built(name) or upstream.origin(url) not in self._sites():
            return None
        self._check_disk(DISK_FOR_DOWNLOAD_GIB)
        try:
            with self.progress.component(name, f"downloading {url}"):
                home = self.files.ensure(recipe, lambda into: _download(url, sha256, into / file_name))
        except UnreachableError as err:
            self.progress.say(f"{name}: {err}; building it instead")
            return None
        return home / file_name, "downloaded", True

    def _has_built(self, name: str) -> bool:
        return name in recipes.FILES and self.files.holds(self._file_recipe(name))

    def _built_file(self, name: str, url: str) -> tuple[Path, str, bool] | None:
        if name not in recipes.FILES:
            return None
        recipe = self._file_recipe(name)
        file_name = url.rsplit("/", 1)[1]
        fresh = not self.files.holds(recipe)
        if not fresh:
            self.progress.done += 1
            return self.files.path(recipe) / file_name, "built", False
        with self.progress.component(name, "building"):
            home = self.files.ensure(recipe, lambda into: self._make_file(name, into / file_name))
        return home / file_name, "built", True

    def _file_recipe(self, name: str) -> Recipe:
        """Return what decides a built file; the programs in it by the hashes of their own recipes."""
        match recipes.FILES[name]:
            case recipes.Plain(binary):
                return {"kind": "plain", "binary": recipe_hash(self._binary_recipe(binary))}
            case recipes.Packed(members):
                return {"kind": "packed", "members": self._member_hashes(self._filled(members))}
            case recipes.Bundle():
                programs = {program: program for program in (*bundle.PROGRAMS, *recipes.CNI_PLUGINS)}
                hashes = self._member_hashes(programs)
                return {"kind": "bundle", "members": hashes, "configuration": dict(bundle.CONFIGURATION)}
            case recipes.Chart() as chart:
                return {
                    "kind": "chart",
                    "module": chart.module.format_map(self.versions),
                    "vendored": {key: module.format_map(self.versions) for key, (module, _) in chart.vendored.items()},
                }

    def _filled(self, members: Mapping[str, str]) -> dict[str, str]:
        return {path.format_map(self.versions): binary for path, binary in members.items()}

    def _member_hashes(self, members: Mapping[str, str]) -> dict[str, str]:
        return {path: recipe_hash(self._binary_recipe(binary)) for path, binary in members.items()}

    def _make_file(self, name: str, output: Path) -> None:
        match recipes.FILES[name]:
            case recipes.Plain(binary):
                link(self._binary(binary), output)
            case recipes.Packed(members):
                packed = [Entry(path, source=self._binary(binary)) for path, binary in self._filled(members).items()]
                write_tar_gz(output, packed)
            case recipes.Bundle():
                programs = {program: self._binary(program) for program in (*bundle.PROGRAMS, *recipes.CNI_PLUGINS)}
                write_tar_gz(output, bundle.entries(programs))
            case recipes.Chart() as chart:
                self._pack_chart(chart, output)
        _write_sum(output)

    def _pack_chart(self, chart: recipes.Chart, output: Path) -> None:
        module = recipes.GO_MODULES[chart.name]
        sources = self.go.sources(chart.module.format_map(self.versions))
        vendored = {
            name: self.go.sources_of(module, required.format_map(self.versions), self.versions) / directory
            for name, (required, directory) in chart.vendored.items()
        }
        charts.pack(sources / chart.directory, chart.name, self.versions[chart.name], vendored, output)

    # -- programs ----------------------------------------------------------------------------------

    def _binary_recipe(self, name: str) -> Recipe:
        if name in recipes.GO_BINARIES:
            binary = recipes.GO_BINARIES[name]
            return golang.recipe(name, binary, recipes.GO_MODULES[binary.module], self.versions, self.arch)
        if name == "pause":
            return c_programs.pause_recipe(self.arch)
        if name == "pinns":
            return c_programs.pinns_recipe(self.versions["crio"], self.arch)
        if name == "runc" and self.runc_shim:
            return {"kind": "runc shim", "source": sha256_of(SHIM_SOURCES / "main.go"), "arch": self.arch}
        package, member = recipes.BUNDLE_PACKAGES[name]
        return {"kind": "from package", "package": package, "member": member, "arch": self.arch}

    def _binary(self, name: str) -> Path:
        """Return a program's file, made when it is not there yet."""
        recipe = self._binary_recipe(name)
        if not self.files.holds(recipe):
            self._check_tools()
            self.progress.say(f"    {name}")
        return self.files.ensure(recipe, lambda into: self._make_binary(name, into / name)) / name

    def _make_binary(self, name: str, output: Path) -> None:
        if name in recipes.GO_BINARIES:
            binary = recipes.GO_BINARIES[name]
            self.go.build(binary, recipes.GO_MODULES[binary.module], self.versions, output)
        elif name == "pause":
            c_programs.compile_pause(output)
        elif name == "pinns":
            c_programs.compile_pinns(self.go.sources(f"github.com/cri-o/cri-o@v{self.versions['crio']}"), output)
        elif name == "runc" and self.runc_shim:
            self.go.build_own(SHIM_SOURCES, output)
        else:
            package, member = recipes.BUNDLE_PACKAGES[name]
            deb = debs.download_one(package, output.parent)
            output.write_bytes(debs.read_member(deb, member))
            deb.unlink()
        output.chmod(0o755)

    # -- the apt repository ------------------------------------------------------------------------

    def _repository(self) -> Made:
        """Make the flat apt repository for the nodes' packages, and serve it as mirror/debian."""
        recipe = {"kind": "apt repository", "packages": list(recipes.NODE_PACKAGES), "arch": self.arch}
        fresh = not self.files.holds(recipe)
        if fresh:
            with self.progress.component("debian", "downloading packages"):
                home = self.files.ensure(recipe, _make_repository)
        else:
            self.progress.done += 1
            home = self.files.path(recipe)
        destination = self.cache_dir / "mirror" / "debian"
        _serve_directory(home, destination)
        sizes = [deb.stat().st_size for deb in home.glob("*.deb")]
        index = sha256_of(home / "Packages")
        where = self._relative(destination)
        return Made("debian", f"{len(sizes)} packages", sum(sizes), index, "downloaded", where, fresh)

    # -- images ------------------------------------------------------------------------------------

    def _image(self, image: recipes.Image) -> Made:
        tag = image.tag.format_map(self.versions)
        layout, origin, fresh = self._image_layout(image, tag)
        digest = oci.manifest_digest(layout)
        registry = self.cache_dir / "registry"
        if oci.published_digest(registry, image.repository, tag) != digest:
            oci.publish(layout, registry, image.repository, tag)
        name = f"{image.registry}/{image.repository}"
        return Made(name, tag, oci.size_bytes(layout), digest, origin, self._relative(layout), fresh)

    def _image_layout(self, image: recipes.Image, tag: str) -> tuple[Path, str, bool]:
        name = f"{image.registry}/{image.repository}:{tag}"
        copied = {"kind": "copied image", "name": name, "arch": self.arch}
        recipe = self._image_recipe(image)
        for kept, origin in ((recipe, "built"), (copied, "downloaded")):
            if self.images.holds(kept):
                self.progress.done += 1
                return self.images.path(kept), origin, False
        if f"https://{image.registry}" in self._sites():
            try:
                with self.progress.component(name, "copying"):
                    layout = self.images.ensure(
                        copied,
                        lambda into: upstream.copy_image(image.registry, image.repository, tag, self.arch, into, {}),
                    )
                return layout, "downloaded", True
            except UnreachableError as err:
                self.progress.say(f"{name}: {err}; building it instead")
        with self.progress.component(name, "building"):
            return self.images.ensure(recipe, lambda into: self._make_image(image, into)), "built", True

    def _image_recipe(self, image: recipes.Image) -> Recipe:
        return {
            "kind": "image",
            "binaries": self._member_hashes(image.binaries),
            "entrypoint": list(image.entrypoint),
            "user": image.user,
            "base": dict(cilium_base.recipe(self.arch)) if image.base else None,
            "sources": [[module.format_map(self.versions), path, into] for module, path, into in image.sources],
            "layer": [oci.LAYER_TYPE, *oci.ZSTD],
        }

    def _make_image(self, image: recipes.Image, into: Path) -> None:
        layers: list[Sequence[Entry]] = []
        if image.base:
            base = cilium_base.recipe(self.arch)
            layers.append(cilium_base.entries(self.files.ensure(base, cilium_base.make)))
        layers.append(self._image_entries(image))
        oci.write_layout(into, layers, oci.ImageConfig(image.entrypoint, image.user), self.arch)

    def _image_entries(self, image: recipes.Image) -> list[Entry]:
        entries = [Entry(path, source=self._binary(binary)) for path, binary in image.binaries.items()]
        if not image.base:
            entries += MINIMAL_ROOT
        for module, path, into in image.sources:
            entries += _source_entries(self.go.sources(module.format_map(self.versions)) / path, into)
        return sorted(entries, key=lambda entry: entry.path)

    # -- what the run may use ----------------------------------------------------------------------

    def _sites(self) -> set[str]:
        """Return the vendors' sites that answer; asked once a run, and only when something is missing."""
        if self._answering is None:
            urls = [pin["url"] for pin in self.definition["artefacts"].values()]
            registries = [f"https://{image.registry}/v2" for image in recipes.IMAGES]
            asked = {upstream.origin(url) for url in [*urls, *registries]}
            self._answering = upstream.answering(asked)
            self.progress.say(f"vendors' sites that answer: {len(self._answering)} of {len(asked)}")
        return self._answering

    def _check_tools(self) -> None:
        """Find out, before the first build, whether everything that builds need is there."""
        if self._checked:
            return
        missing = missing_tools()
        if missing:
            findings = "\n".join(f"  - {line}" for line in missing)
            raise PrerequisiteError(f"cannot build the lab's artefacts:\n{findings}")
        self._check_disk(DISK_FOR_BUILD_GIB if not self.go.root.exists() else DISK_FOR_DOWNLOAD_GIB)
        self._checked = True

    def _check_disk(self, needed_gib: int) -> None:
        free = shutil.disk_usage(self.cache_dir).free
        if free < needed_gib * GIB:
            raise PrerequisiteError(
                f"{self.cache_dir}: {free / GIB:.1f} GiB free, {needed_gib} GiB needed while the artefacts are made; "
                "free some space, or set SALTERN_CACHE to a directory on a larger disk"
            )

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self.cache_dir))


# Every image has these; Kubernetes mounts over some, and programs look their user up in passwd.
MINIMAL_ROOT: tuple[Entry, ...] = (
    *(Entry(name) for name in ("dev", "etc", "proc", "run", "sys", "usr", "var")),
    Entry("tmp", 0o1777),
    Entry("etc/passwd", 0o644, content=cilium_base.PASSWD),
    Entry("etc/group", 0o644, content=cilium_base.GROUP),
)


def missing_tools() -> list[str]:
    """Return what the machine lacks for building from modules, one line each with what to type; empty when nothing."""
    findings = []
    try:
        golang.find_go()
    except PrerequisiteError as err:
        findings.append(str(err))
    for tool, package in BUILD_TOOLS.items():
        if shutil.which(tool) is None:
            findings.append(f"{tool}: not found; apt-get install {package}")
    if shutil.which("pkg-config") and not _has_libseccomp():
        findings.append("libseccomp's headers: not found, CRI-O links against it; apt-get install libseccomp-dev")
    return findings


def _has_libseccomp() -> bool:
    try:
        command.run(["pkg-config", "--exists", "libseccomp"])
    except ArtefactError:
        return False
    return True


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


def _source_entries(source: Path, into: str) -> list[Entry]:
    if source.is_dir():
        return [Entry(into), *tree(source, f"{into}/")]
    return [Entry(into, 0o755, source=source)]


def _download(url: str, sha256: str, output: Path) -> None:
    upstream.download(url, sha256, output)
    _write_sum(output)


def _write_inventory(path: Path, made: Sequence[Made]) -> None:
    """Write the list of what the cache holds, complete or not at all."""
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps([{**asdict(line), "fresh": False} for line in made], indent=1) + "\n")
    unfinished.replace(path)


def _write_sum(path: Path) -> None:
    """Keep a file's checksum beside it: summing 600 MB again on every run would take seconds."""
    path.with_name("sha256").write_text(sha256_of(path))


def _sum_beside(path: Path) -> str:
    return path.with_name("sha256").read_text()
