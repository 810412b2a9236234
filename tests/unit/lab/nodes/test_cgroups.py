"""The nodes' cgroups, on trees of plain files like the kernel's."""

from dataclasses import replace
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.nodes.cgroups import PARENT, Cgroups, Limits, hierarchies
from tests.unit.lab.test_host import ORDINARY

BARE = replace(ORDINARY, systemd=False, cores=4, memory_mib=16 * 1024)
SMALL = Limits(memory_bytes=8 * 2**30, cores=2)


class Tree(Cgroups):
    """Cgroups whose hierarchies are directories of the test."""

    def __init__(self, places: list[Path], systemd: bool = False) -> None:
        super().__init__(replace(BARE, systemd=systemd), mounts="")
        self.hierarchies = places


@pytest.fixture
def cpuset(tmp_path: Path) -> Path:
    """A cpuset of version 1; the kernel makes the files of a child, so the test makes them beforehand."""
    for place in (tmp_path, tmp_path / PARENT, tmp_path / PARENT / "node-101"):
        place.mkdir(exist_ok=True)
        for name, top in (("cpuset.cpus", "0-3\n"), ("cpuset.mems", "0\n"), ("cgroup.clone_children", "0\n")):
            (place / name).write_text(top if place == tmp_path else "\n")
    return tmp_path


def test_hierarchies_of_both_versions() -> None:
    mounts = (
        "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
        "cgroup /var/lib/x/cgroup/cpu cgroup rw 0 0\ntmpfs /run tmpfs rw 0 0\n"
    )
    assert hierarchies(mounts) == [Path("/sys/fs/cgroup/cpu,cpuacct"), Path("/sys/fs/cgroup/unified")]
    assert hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n") == [Path("/sys/fs/cgroup")]


def test_a_cpuset_takes_over_what_is_above_it(cpuset: Path) -> None:
    files = Tree([cpuset]).create("node-101", SMALL)
    node = cpuset / PARENT / "node-101"
    assert files == [node / "cgroup.procs"]
    assert (cpuset / PARENT / "cpuset.cpus").read_text() == "0-3\n"
    assert (node / "cpuset.cpus").read_text() == "0-3\n"
    assert (node / "cgroup.clone_children").read_text() == "1"


def test_version_2_hands_the_controllers_down(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / PARENT):
        place.mkdir(exist_ok=True)
        (place / "cgroup.controllers").write_text("cpu memory pids\n")
        (place / "cgroup.subtree_control").write_text("")
    Tree([tmp_path]).create("node-101", SMALL)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (tmp_path / PARENT / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (tmp_path / PARENT / "node-101").is_dir()


@pytest.mark.parametrize(
    ("limits", "memory", "quota"),
    [
        (SMALL, str(8 * 2**30), "200000"),
        (Limits(memory_bytes=64 * 2**30, cores=8), "unset", "unset"),  # more than the machine has: no limit at all
    ],
)
def test_limits(tmp_path: Path, limits: Limits, memory: str, quota: str) -> None:
    node = tmp_path / PARENT / "node-101"
    node.mkdir(parents=True)
    (node / "memory.limit_in_bytes").write_text("unset")
    (node / "cpu.cfs_quota_us").write_text("unset")
    Tree([tmp_path]).create("node-101", limits)
    assert (node / "memory.limit_in_bytes").read_text() == memory
    assert (node / "cpu.cfs_quota_us").read_text() == quota


def test_systemd_is_left_to_make_them(tmp_path: Path) -> None:
    assert Tree([tmp_path], systemd=True).create("node-101", SMALL) == []
    assert list(tmp_path.iterdir()) == []


def test_removing_takes_the_inner_ones_first_and_the_parent_last(tmp_path: Path) -> None:
    (tmp_path / PARENT / "node-101/system.slice/ssh.service").mkdir(parents=True)
    (tmp_path / PARENT / "node-102").mkdir()
    (tmp_path / "somebody-else").mkdir()
    assert Tree([tmp_path]).remove_all() == ["node-101", "node-102"]
    assert [path.name for path in tmp_path.iterdir()] == ["somebody-else"]
    assert Tree([tmp_path]).remove_all() == []


def test_a_kernel_that_refuses_is_quoted(tmp_path: Path) -> None:
    (tmp_path / PARENT).write_text("not a directory")
    with pytest.raises(LabError, match=r"cgroup of node-101: .*File exists"):
        Tree([tmp_path]).create("node-101", SMALL)
