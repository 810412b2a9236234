"""config_file.managed and config_file.kept on real files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.functional.node.conftest import Minion

TEXT = "overlay\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "etc/overlay.conf"


def reasons(minion: Minion) -> list[str]:
    found: list[str] = minion.call("unit_restart.reasons", "a.service")
    return found


def test_a_missing_file_is_made(minion: Minion, path: Path) -> None:
    done = minion.settle("config_file.managed", str(path), text="overlay", mode="0600", restarts=["a.service"])
    assert done["changes"] == {
        "content": {"old": None, "new": TEXT},
        "user": {"old": None, "new": "root"},
        "group": {"old": None, "new": "root"},
        "mode": {"old": None, "new": "0600"},
    }
    assert (path.read_text(), path.stat().st_mode & 0o7777) == (TEXT, 0o600)
    assert reasons(minion) == [f"{path} changed"]


@pytest.mark.parametrize(
    ("drift", "change"),
    [
        (lambda path: path.write_text("another\n"), {"content": {"old": "another\n", "new": TEXT}}),
        (lambda path: path.chmod(0o606), {"mode": {"old": "0606", "new": "0644"}}),
        (lambda path: os.chown(path, 65534, -1), {"user": {"old": "nobody", "new": "root"}}),
        (lambda path: os.chown(path, -1, 54321), {"group": {"old": "54321", "new": "root"}}),
        (lambda path: path.write_bytes(b"\xff\n"), {"content": {"old": "\ufffd\n", "new": TEXT}}),
    ],
)
def test_what_differs_and_nothing_else_is_changed(minion: Minion, path: Path, drift: object, change: object) -> None:
    minion.apply("config_file.managed", str(path), text=TEXT)
    assert callable(drift)
    drift(path)
    modified_ns = path.stat().st_mtime_ns
    done = minion.settle("config_file.managed", str(path), text=TEXT, restarts=["a.service"])
    assert done["changes"] == change
    touched = "content" in done["changes"]
    assert (path.stat().st_mtime_ns != modified_ns, reasons(minion) != []) == (touched, touched)


def test_a_link_is_replaced_and_what_it_leads_to_is_left_alone(minion: Minion, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(TEXT)
    path.parent.mkdir()
    path.symlink_to(other)
    done = minion.settle("config_file.managed", str(path), text=TEXT)
    assert done["changes"]["content"] == {"old": f"(link to {other})", "new": TEXT}
    assert (path.is_symlink(), other.read_text()) == (False, TEXT)


def test_what_cannot_be_done_is_said(minion: Minion, path: Path) -> None:
    done = minion.apply("config_file.managed", str(path), text=TEXT, user="no-such-user")
    assert done["result"] is False
    assert "getpwnam(): name not found: 'no-such-user': no such account on this node" in done["comment"]
    assert not path.exists()
    path.mkdir()
    done = minion.apply("config_file.managed", str(path), text=TEXT)
    assert f"{path} is a directory: a file has to be there; move it away and apply again" in done["comment"]


def test_a_file_of_no_pillar_is_mended_from_its_copy(minion: Minion, path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    done = minion.settle("config_file.kept", str(path), copy=str(copy))
    assert (done["comment"], path.exists()) == (f"{path}: not handed over yet", False)
    copy.write_text(TEXT)
    minion.settle("config_file.kept", str(path), copy=str(copy))
    path.write_text("another\n")
    done = minion.settle("config_file.kept", str(path), copy=str(copy))
    assert done["changes"] == {"content": {"old": "another\n", "new": TEXT}}
