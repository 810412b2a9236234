"""The lab's command line."""

import fcntl
from pathlib import Path

import pytest

from lab import cli
from lab.errors import LabError


@pytest.fixture(autouse=True)
def directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SALTERN_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("SALTERN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cli, "LOCK", tmp_path / "lock")
    return tmp_path


def test_env_without_a_lab_says_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["env"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "so the lab is not up. Type `make up`" in printed.err


def test_env_prints_only_lines_for_eval(directories: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directories / "state/bin").mkdir(parents=True)
    assert cli.main(["env"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert f"export KUBECONFIG={directories}/state/kubeconfig" in printed.out.splitlines()


def test_two_commands_at_once_are_refused(directories: Path) -> None:
    with (directories / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write("`make up` (PID 4711)")
        other.flush()
        with (
            pytest.raises(LabError, match=r"`make up` \(PID 4711\) is at work on the lab.*type `make down`"),
            cli._alone("down"),
        ):
            pytest.fail("entered")


def test_the_lock_is_free_again_after_a_failure(directories: Path) -> None:
    with pytest.raises(LabError, match="why"), cli._alone("up"):
        raise LabError("why")
    with cli._alone("up"):
        assert "make up" in (directories / "lock").read_text()


def test_down_without_root_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli.os, "geteuid", lambda: 1000)
    assert cli.main(["down"]) == 1
    assert "not root" in capsys.readouterr().err
