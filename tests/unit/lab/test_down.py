"""Taking the lab down touches what is the lab's, and nothing else."""

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from lab import down
from lab.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(state=tmp_path / "state", cache=tmp_path / "cache")


def fill(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("x")


def test_the_labs_and_the_clusters_entries_go(paths: Paths) -> None:
    fill(paths.state, "lab/nodes.img", "salt/etc/master", "pillar/cluster.sls", "bin/salt", "kubeconfig",
         "proxmox/slots/1", "saw-k8s/runs/1.json", "other/lock", "third/machines/m.json")  # fmt: skip
    assert down._state(paths)
    assert not paths.state.exists()
    assert not down._state(paths)


def test_what_somebody_else_keeps_there_stays(paths: Paths) -> None:
    fill(paths.state, "lab/nodes.img", "notes/todo.txt", "mine.txt")
    assert down._state(paths)
    assert sorted(path.name for path in paths.state.iterdir()) == ["mine.txt", "notes"]


def test_the_cache_stays(paths: Paths) -> None:
    fill(paths.cache, "template-x.tar.zst")
    fill(paths.state, "lab/x")
    down._state(paths)
    assert (paths.cache / "template-x.tar.zst").exists()


def test_we_and_those_above_us_are_spared() -> None:
    above = list(down._ancestors(os.getpid()))
    assert above[:2] == [os.getpid(), os.getppid()]
    assert not {process.pid for process in down._all_processes()} & set(above)


@pytest.mark.parametrize(
    "line",
    [
        "24 1 254:0 / / rw - ext4 /dev/vda rw",  # the machine's own root
        "24 1 0:30 /home / rw - btrfs /dev/sda2 rw",  # somebody's own btrfs
        "24 1 0:30 /101 / rw - btrfs /dev/loop99999 rw",  # a loop device that is not ours
    ],
)
def test_other_roots_are_not_nodes(paths: Paths, line: str) -> None:
    assert not down._is_node_root(line, paths)


def test_services_end_in_reverse() -> None:
    assert sorted(["dns", "proxmox", "salt-master", "mirror"], key=down._stop_order) == [
        "salt-master",
        "proxmox",
        "mirror",
        "dns",
    ]


def test_a_lock_that_a_container_holds_stays(tmp_path: Path) -> None:
    held, free = tmp_path / "inode-1:1", tmp_path / "inode-1:2"
    free.touch()
    with held.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        down._remove_free_lock(held)
        down._remove_free_lock(free)
        assert [path.name for path in tmp_path.iterdir()] == ["inode-1:1"]


def test_environments_of_earlier_requirements_go(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(paths.cache, "venv-old/complete", "venv-now/complete", "wheels/x")
    monkeypatch.setattr(down.sys, "prefix", str(paths.cache / "venv-now"))
    down._obsolete_environments(paths)
    assert sorted(path.name for path in paths.cache.iterdir()) == ["venv-now", "wheels"]


def test_whoever_runs_from_elsewhere_removes_no_environment(paths: Paths) -> None:
    fill(paths.cache, "venv-old/complete")
    down._obsolete_environments(paths)
    assert (paths.cache / "venv-old").is_dir()


def test_files_that_vanish_while_they_are_removed_are_no_failure(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(paths.salt, "cache/proc/9240")
    real = os.unlink

    def unlink(path: str, **rest: Any) -> None:
        real(path, **rest)
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "unlink", unlink)
    assert down._state(paths)
    assert not paths.state.exists()
