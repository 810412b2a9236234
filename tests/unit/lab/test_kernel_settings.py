"""Settings that all nodes share with the machine: raised, and put back."""

import json
from pathlib import Path

import pytest

from lab import kernel_settings
from lab.errors import LabError
from lab.kernel_settings import WANTED, apply, file_of, restore


@pytest.fixture
def proc_sys(tmp_path: Path) -> Path:
    """A machine with Debian's own values."""
    tree = tmp_path / "sys"
    for key in WANTED:
        file_of(key, tree).parent.mkdir(parents=True, exist_ok=True)
        file_of(key, tree).write_text("0\n")
    file_of("fs.inotify.max_user_instances", tree).write_text("128\n")
    file_of("kernel.keys.root_maxkeys", tree).write_text("9000000\n")
    return tree


def values(proc_sys: Path) -> dict[str, str]:
    return {key: file_of(key, proc_sys).read_text().strip() for key in WANTED}


def test_values_are_raised_and_put_back(proc_sys: Path, tmp_path: Path) -> None:
    saved, before = tmp_path / "lab" / "saved.json", values(proc_sys)
    changed = apply(saved, proc_sys)
    assert "fs.inotify.max_user_instances" in changed
    assert values(proc_sys)["fs.inotify.max_user_instances"] == "8192"
    assert restore(saved, proc_sys) == changed
    assert values(proc_sys) == before
    assert not saved.exists()


def test_a_limit_that_is_higher_already_stays(proc_sys: Path, tmp_path: Path) -> None:
    assert "kernel.keys.root_maxkeys" not in apply(tmp_path / "saved.json", proc_sys)
    assert values(proc_sys)["kernel.keys.root_maxkeys"] == "9000000"


def test_a_second_time_nothing_changes_and_the_machines_own_values_are_kept(proc_sys: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    apply(saved, proc_sys)
    assert apply(saved, proc_sys) == []
    file_of("vm.overcommit_memory", proc_sys).write_text("2\n")  # somebody changed one meanwhile
    apply(saved, proc_sys)
    assert json.loads(saved.read_text())["vm.overcommit_memory"] == "0"


def test_a_key_that_this_kernel_lacks_is_left_out(proc_sys: Path, tmp_path: Path) -> None:
    file_of("vm.panic_on_oom", proc_sys).unlink()
    assert "vm.panic_on_oom" not in apply(tmp_path / "saved.json", proc_sys)


def test_without_a_note_nothing_is_put_back(proc_sys: Path, tmp_path: Path) -> None:
    assert restore(tmp_path / "none.json", proc_sys) == []


def test_a_key_that_cannot_be_written_is_named(proc_sys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, text: str) -> int:
        raise PermissionError(13, "Permission denied", str(self))

    apply(tmp_path / "first.json", proc_sys)
    file_of("kernel.panic", proc_sys).write_text("1\n")
    (tmp_path / "saved.json").write_text("{}")
    monkeypatch.setattr(kernel_settings.Path, "write_text", refuse)
    with pytest.raises(LabError, match=r"kernel\.panic: cannot be set to 10 .* \(Permission denied\)"):
        apply(tmp_path / "saved.json", proc_sys)
