"""Builds programs from published Go modules, with caches of the lab's own."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from lab.artefacts import command
from lab.artefacts.errors import ArtefactError, PrerequisiteError
from lab.artefacts.recipes import GoBinary, GoModule
from lab.artefacts.store import Recipe

MINIMUM = (1, 26)
USUAL_PLACE = Path("/usr/local/go/bin/go")

# Git stamps would need a repository, and a toolchain fetched in the middle of a build would not be the one checked.
FIXED_ENVIRONMENT = {"GOFLAGS": "-buildvcs=false", "GOTOOLCHAIN": "local"}


def go_mod(module: GoModule, versions: Mapping[str, str]) -> str:
    """Return the go.mod of a module of ours that requires a component.

    Args:
        module: what it requires and replaces.
        versions: {component: version} for the placeholders.
    """
    requires = "".join(f"{path} {version}\n" for path, version in module.requires.items())
    replaces = "".join(f"{path} => {instead}\n" for path, instead in module.replaces.items())
    text = f"module lab/{module.name}\n\ngo 1.26\n\nrequire (\n{requires}\n)\n"
    if replaces:
        text += f"replace (\n{replaces}\n)\n"
    return text.format_map(versions)


def linker_flags(binary: GoBinary, versions: Mapping[str, str]) -> str:
    """Return the -ldflags of a binary: no symbol table, and the version variables of the component."""
    variables = " ".join(f"-X {name}={value.format_map(versions)}" for name, value in binary.variables.items())
    return f"-s -w {variables}"


def recipe(name: str, binary: GoBinary, module: GoModule, versions: Mapping[str, str], arch: str) -> Recipe:
    """Return everything that decides what a binary is; its hash names the binary in the store."""
    return {
        "kind": "go binary",
        "name": name,
        "go.mod": go_mod(module, versions),
        "package": binary.package,
        "ldflags": linker_flags(binary, versions),
        "tags": list(binary.tags),
        "cgo": binary.cgo,
        "arch": arch,
    }


def find_go() -> Path:
    """Return the go command.

    Raises:
        PrerequisiteError: there is none, or it is older than MINIMUM.
    """
    found = shutil.which("go") or (str(USUAL_PLACE) if USUAL_PLACE.is_file() else None)
    needed = ".".join(map(str, MINIMUM))
    remedy = f"install Go {needed} or newer from https://go.dev/dl/ into /usr/local/go, then run again"
    if found is None:
        raise PrerequisiteError(
            f"go: not found in PATH nor as {USUAL_PLACE}; it builds what the vendors' sites did not give: {remedy}"
        )
    version = command.run([found, "env", "GOVERSION"], env={**os.environ, "GOTOOLCHAIN": "local"}).strip()
    match = re.match(r"go(\d+)\.(\d+)", version)
    if match is None or (int(match[1]), int(match[2])) < MINIMUM:
        raise PrerequisiteError(f"go: {found} is {version}, the components need {needed}: {remedy}")
    return Path(found)


class Go:
    """The Go toolchain with module and build caches below one directory.

    Args:
        root: holds mod/, build/ and src/.
        heartbeat: called every few seconds while a build runs.
    """

    def __init__(self, root: Path, heartbeat: Callable[[], None] | None = None) -> None:
        self.root = root
        self._heartbeat = heartbeat
        self._go: Path | None = None

    def build(self, binary: GoBinary, module: GoModule, versions: Mapping[str, str], output: Path) -> None:
        """Build one program into the file `output`.

        Raises:
            PrerequisiteError: no suitable Go.
            ArtefactError: the build failed; holds the compiler's last lines.
        """
        argv: list[str | Path] = [self.command(), "build", "-mod=mod", "-trimpath"]
        if binary.tags:
            argv += ["-tags", " ".join(binary.tags)]
        argv += ["-ldflags", linker_flags(binary, versions), "-o", output, binary.package]
        self._run(argv, cwd=self._sources(module, versions), cgo=binary.cgo)

    def build_own(self, directory: Path, output: Path, variables: Mapping[str, str] | None = None) -> None:
        """Build a program of ours that needs nothing but the standard library, statically linked.

        Args:
            directory: its sources.
            output: the file to write.
            variables: {"main.variable": value} set by the linker.
        """
        flags = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in (variables or {}).items())])
        self._run([self.command(), "build", "-trimpath", "-ldflags", flags, "-o", output, "."], cwd=directory)

    def sources(self, module: str) -> Path:
        """Return the unpacked sources of a published module.

        Args:
            module: "path@version".
        """
        work = self.root / "src" / "download"
        work.mkdir(parents=True, exist_ok=True)
        (work / "go.mod").write_text("module lab/download\n\ngo 1.26\n")
        answer = json.loads(self._run([self.command(), "mod", "download", "-json", module], cwd=work))
        return Path(answer["Dir"])

    def sources_of(self, module: GoModule, required: str, versions: Mapping[str, str]) -> Path:
        """Return the sources of a module as `module` pins it (its go.sum vouches for it).

        Args:
            module: the module of ours that requires it, directly or through its component.
            required: "path@version".
            versions: {component: version} for the placeholders.
        """
        answer = json.loads(
            self._run([self.command(), "mod", "download", "-json", required], cwd=self._sources(module, versions))
        )
        return Path(answer["Dir"])

    def command(self) -> Path:
        """Return the go command, checked once."""
        if self._go is None:
            self._go = find_go()
        return self._go

    def drop_caches(self) -> None:
        """Remove modules, build results and sources: some 20 GB that only another build would use."""
        shutil.rmtree(self.root)

    def _sources(self, module: GoModule, versions: Mapping[str, str]) -> Path:
        """Write our go.mod, and the component's own go.sum beside it.

        The component's author pinned its dependencies' checksums there; the checksum database, which does not know
        all of them, is then asked only for what that file lacks.
        """
        directory = self.root / "src" / module.name
        directory.mkdir(parents=True, exist_ok=True)
        path, version = next(iter(module.requires.items()))
        sums = self.sources(f"{path}@{version}".format_map(versions)) / "go.sum"
        (directory / "go.sum").write_text(sums.read_text() if sums.is_file() else "")
        (directory / "go.mod").write_text(go_mod(module, versions))
        return directory

    def _run(self, argv: list[str | Path], cwd: Path, cgo: bool = False) -> str:
        env = {
            **os.environ,
            **FIXED_ENVIRONMENT,
            "GOMODCACHE": str(self.root / "mod"),
            "GOCACHE": str(self.root / "build"),
            "CGO_ENABLED": "1" if cgo else "0",
        }
        try:
            return command.run(argv, cwd=cwd, env=env, heartbeat=self._heartbeat)
        except ArtefactError as err:
            raise ArtefactError(
                f"{err}\n  Modules come from GOPROXY={os.environ.get('GOPROXY', 'its default')}; "
                "when it cannot be reached, set GOPROXY to one that can, then run again"
            ) from err
