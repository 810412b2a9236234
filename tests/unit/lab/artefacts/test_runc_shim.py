"""The shim's program, built and run on real specification files, in front of a runc that says what it was given."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.artefacts.golang import Go
from lab.artefacts.programs import SHIM_SOURCES
from lab.paths import Paths

RUNC = '#!/bin/sh\nprintf "%s\\n" "$@"\n'


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim, built by the same call as in the lab, but for the place of runc."""
    work = tmp_path_factory.mktemp("shim")
    (work / "runc").write_text(RUNC)
    (work / "runc").chmod(0o755)
    # The standard library takes its time: compiled once, it is kept beside the lab's own caches.
    Go(Paths.from_environment().cache / "go-tests").build_own(
        SHIM_SOURCES, work / "shim", {"main.runc": str(work / "runc")}
    )
    return work / "shim"


def specification(score: int, capabilities: list[str]) -> dict[str, Any]:
    """Return the part of a process specification that matters, as CRI-O writes it."""
    return {
        "args": ["/pause"],
        "oomScoreAdj": score,
        "capabilities": {"bounding": capabilities, "effective": capabilities},
    }


def run(shim: Path, *arguments: str) -> list[str]:
    """Run the shim; return the arguments that runc got."""
    return subprocess.run([shim, *arguments], check=True, capture_output=True, text=True).stdout.splitlines()


def test_takes_out_what_the_machine_cannot_grant_and_nothing_else(shim: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    process = specification(-997, ["CAP_NET_ADMIN", "CAP_SYS_RESOURCE"])
    (bundle / "config.json").write_text(json.dumps({"ociVersion": "1.1.0", "hostname": "h", "process": process}))

    arguments = ["--root", "/run/runc", "create", "--bundle", str(bundle), "id"]
    assert run(shim, *arguments) == arguments

    written = json.loads((bundle / "config.json").read_text())
    assert written == {"ociVersion": "1.1.0", "hostname": "h", "process": specification(0, ["CAP_NET_ADMIN"])}


@pytest.mark.parametrize("form", ["--process {}", "-p {}", "--process={}"])
def test_exec_specification_in_every_form(shim: Path, tmp_path: Path, form: str) -> None:
    path = tmp_path / "process.json"
    path.write_text(json.dumps(specification(-5, ["CAP_SYS_RESOURCE"])))

    run(shim, "exec", *form.format(path).split(), "id")

    assert json.loads(path.read_text()) == specification(0, [])


def test_leaves_alone_what_is_grantable(shim: Path, tmp_path: Path) -> None:
    path = tmp_path / "process.json"
    text = json.dumps(specification(1000, ["CAP_CHOWN"]), indent=7)
    path.write_text(text)

    run(shim, "exec", "-p", str(path), "id")

    assert path.read_text() == text


def test_a_specification_that_cannot_be_read_is_left_to_runc(shim: Path, tmp_path: Path) -> None:
    arguments = ["create", "-b", str(tmp_path / "absent"), "id"]
    assert run(shim, *arguments) == arguments
