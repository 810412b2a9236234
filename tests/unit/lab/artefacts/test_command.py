"""A command that fails is shown with its own last words."""

from pathlib import Path

import pytest

from lab.artefacts import command, golang
from lab.artefacts.errors import ArtefactError, PrerequisiteError


def test_output_is_returned() -> None:
    assert command.run(["printf", "%s", "text"]) == "text"


def test_failure_shows_command_code_last_lines_and_remedy(tmp_path: Path) -> None:
    script = "for i in $(seq 40); do echo line $i; done; echo cause >&2; exit 3"

    with pytest.raises(ArtefactError) as failure:
        command.run(["sh", "-c", script], cwd=tmp_path, hint="type this")

    text = str(failure.value)
    assert f"(in {tmp_path}) failed with exit code 3" in text
    assert "line 40" in text
    assert "line 10\n" not in text
    assert text.endswith("type this")


def write_go(directory: Path, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a go command that states `version` first, and only, in PATH."""
    go = directory / "go"
    go.write_text(f"#!/bin/sh\necho {version}\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))


@pytest.mark.parametrize("version", ["go1.26", "go1.26.8", "go1.30rc1", "go2.0"])
def test_go_that_is_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    write_go(tmp_path, version, monkeypatch)

    assert golang.find_go() == tmp_path / "go"


@pytest.mark.parametrize("version", ["go1.19.8", "go1.25.9", "devel"])
def test_go_that_is_too_old_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    write_go(tmp_path, version, monkeypatch)

    with pytest.raises(PrerequisiteError, match=rf"{tmp_path}/go is {version}, the components need 1.26: install Go"):
        golang.find_go()


def test_go_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(golang, "USUAL_PLACE", tmp_path / "go")

    with pytest.raises(PrerequisiteError, match=r"go: not found in PATH .* install Go 1.26 or newer"):
        golang.find_go()
