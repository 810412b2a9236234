"""The two C programs of a cluster: pinns (from CRI-O's sources) and pause (ours)."""

from __future__ import annotations

from pathlib import Path

from lab.artefacts import command
from lab.artefacts.store import Recipe, sha256_of

PAUSE_SOURCE = Path(__file__).parent / "pause" / "pause.c"
# Static, so that they run in an image, or on a node, that holds nothing else. -std and -Os as CRI-O builds pinns.
FLAGS = ("-std=gnu99", "-Os", "-static", "-s")


def pause_recipe(arch: str) -> Recipe:
    """Return what decides the pause program."""
    return {"kind": "c program", "name": "pause", "source": sha256_of(PAUSE_SOURCE), "flags": list(FLAGS), "arch": arch}


def pinns_recipe(crio_version: str, arch: str) -> Recipe:
    """Return what decides the pinns program."""
    source = f"cri-o v{crio_version}"
    return {"kind": "c program", "name": "pinns", "source": source, "flags": list(FLAGS), "arch": arch}


def compile_pause(output: Path) -> None:
    """Compile pause into `output`."""
    _compile([PAUSE_SOURCE], output)


def compile_pinns(crio_sources: Path, output: Path) -> None:
    """Compile pinns, the helper that pins a pod's namespaces, from the sources of the cri-o module."""
    _compile(sorted((crio_sources / "pinns" / "src").glob("*.c")), output)


def _compile(sources: list[Path], output: Path) -> None:
    command.run(["gcc", *FLAGS, "-o", output, *sources], hint="install a C compiler: apt-get install gcc libc6-dev")
