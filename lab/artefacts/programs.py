"""The programs that archives and images are made of: each is made once and kept under the hash of its recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lab.artefacts import c_programs, debs, golang, prerequisites, recipes
from lab.artefacts.store import Recipe, sha256_of
from lab.artefacts.workshop import Workshop

SHIM_SOURCES = Path(__file__).parent / "runc_shim"


class Programs:
    """Makes programs by name: those of GO_BINARIES and BUNDLE_PACKAGES, pause and pinns."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self._checked = False

    def recipe(self, name: str) -> Recipe:
        """Return everything that decides what a program is."""
        versions, arch = self.workshop.versions, self.workshop.arch
        if name in recipes.GO_BINARIES:
            binary = recipes.GO_BINARIES[name]
            return golang.recipe(name, binary, recipes.GO_MODULES[binary.module], versions, arch)
        if name == "pause":
            return c_programs.pause_recipe(arch)
        if name == "pinns":
            return c_programs.pinns_recipe(versions["crio"], arch)
        if name == "runc" and self.workshop.runc_shim:
            return {"kind": "runc shim", "source": sha256_of(SHIM_SOURCES / "main.go"), "arch": arch}
        package, member = recipes.BUNDLE_PACKAGES[name]
        return {"kind": "from package", "package": package, "member": member, "arch": arch}

    def hashes(self, members: Mapping[str, str]) -> dict[str, str]:
        """Return {path: hash of the program's recipe} for {path: program}."""
        return {path: self.workshop.store.path(self.recipe(name)).name for path, name in members.items()}

    def file(self, name: str) -> Path:
        """Return a program's file, made when it is not there yet.

        Raises:
            PrerequisiteError: it has to be made, and the machine lacks what that needs.
            ArtefactError: making it failed.
        """
        recipe = self.recipe(name)
        if not self.workshop.store.holds(recipe):
            self._check()
            self.workshop.progress.say(f"    {name}")
        return self.workshop.store.ensure(recipe, lambda into: self._make(name, into / name)) / name

    def _check(self) -> None:
        if not self._checked:
            prerequisites.check_build(self.workshop.cache_dir, self.workshop.go.root)
            self._checked = True

    def _make(self, name: str, output: Path) -> None:
        go, versions = self.workshop.go, self.workshop.versions
        if name in recipes.GO_BINARIES:
            binary = recipes.GO_BINARIES[name]
            go.build(binary, recipes.GO_MODULES[binary.module], versions, output)
        elif name == "pause":
            c_programs.compile_pause(output)
        elif name == "pinns":
            c_programs.compile_pinns(go.sources(f"github.com/cri-o/cri-o@v{versions['crio']}"), output)
        elif name == "runc" and self.workshop.runc_shim:
            go.build_own(SHIM_SOURCES, output)
        else:
            _take_from_package(*recipes.BUNDLE_PACKAGES[name], output)
        output.chmod(0o755)


def _take_from_package(package: str, member: str, output: Path) -> None:
    deb = debs.download_one(package, output.parent)
    output.write_bytes(debs.read_member(deb, member))
    deb.unlink()
