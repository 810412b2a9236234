"""The nodes' disk: a real btrfs file system in a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.nodes import store as store_module
from lab.nodes.store import Store
from lab.paths import Paths
from lab.shell import run


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(store_module, "MAXIMUM_GIB", 2)
    store = Store(Paths(state=tmp_path / "state", cache=tmp_path / "cache"))
    yield store
    store.unmount()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A tiny root file system, with an owner and a mode to keep."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/machine-id").write_text("uninitialized\n")
    (root / "etc/secret").write_text("x")
    (root / "etc/secret").chmod(0o640)
    run(["chown", "1:2", root / "etc/secret"])
    archive = tmp_path / "root.tar.zst"
    run(["tar", "--zstd", "-C", root, "-cf", archive, "."])
    return archive


def configured(root: Path) -> None:
    (root / "etc/configured").write_text("yes")


def test_it_is_made_once_mounted_and_unmounted(store: Store) -> None:
    assert store.mount()
    assert not store.mount()
    assert run(["stat", "-f", "-c", "%T", store.mount_point]).strip() == "btrfs"
    assert store.image.stat().st_blocks * 512 < 100 * 2**20  # sparse: it takes what is in it
    (store.mount_point / "x").write_text("x")
    assert store.unmount()
    assert not store.unmount()
    store.mount()
    assert (store.mount_point / "x").read_text() == "x"


def test_nobody_but_its_owner_reads_the_file_with_every_nodes_keys(store: Store) -> None:
    store.mount()
    assert store.image.stat().st_mode & 0o777 == 0o600
    store.unmount()
    store.image.chmod(0o644)  # as an earlier release left it
    store.mount()
    assert store.image.stat().st_mode & 0o777 == 0o600


def test_unmounting_frees_the_loop_device(store: Store) -> None:
    store.mount()
    assert str(store.image) in run(["losetup", "--list"])
    store.unmount()
    assert str(store.image) not in run(["losetup", "--list"])


def test_an_archive_becomes_a_machine_with_owners_and_modes(store: Store, archive: Path) -> None:
    store.mount()
    assert store.unpack(9000, archive, "origin 1", configured)
    status = (store.root(9000) / "etc/secret").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1, 2, 0o640)
    assert (store.root(9000) / "etc/configured").exists()
    assert store.machine_ids() == [9000]


def test_a_machine_of_the_same_origin_is_left_alone_and_another_replaces_it(store: Store, archive: Path) -> None:
    store.mount()
    store.unpack(9000, archive, "origin 1", configured)
    (store.root(9000) / "etc/mine").write_text("x")
    assert not store.unpack(9000, archive, "origin 1", configured)
    assert (store.root(9000) / "etc/mine").exists()
    assert store.unpack(9000, archive, "origin 2", configured)
    assert not (store.root(9000) / "etc/mine").exists()


def test_an_archive_that_broke_off_is_unpacked_again(store: Store, archive: Path, tmp_path: Path) -> None:
    store.mount()
    broken = tmp_path / "broken.tar.zst"
    broken.write_bytes(archive.read_bytes()[:-20])
    with pytest.raises(LabError, match="tar"):
        store.unpack(9000, broken, "origin 1", configured)
    assert store.unpack(9000, archive, "origin 1", configured)


def test_a_snapshot_is_a_machine_of_its_own(store: Store, archive: Path) -> None:
    store.mount()
    store.unpack(9000, archive, "origin", configured)
    store.snapshot(9000, 101)
    store.snapshot(9000, 102)
    (store.root(101) / "etc/secret").write_text("101")
    assert (store.root(9000) / "etc/secret").read_text() == "x"
    ids = {(store.root(number) / "etc/machine-id").read_text().strip() for number in (101, 102)}
    assert len(ids) == 2
    assert all(len(each) == 32 for each in ids)


def test_snapshots_refuse_what_is_not_there_and_what_is(store: Store, archive: Path) -> None:
    store.mount()
    with pytest.raises(LabError, match="machine 9000 has no disk"):
        store.snapshot(9000, 101)
    store.unpack(9000, archive, "origin", configured)
    store.snapshot(9000, 101)
    with pytest.raises(LabError, match="machine 101 has a disk already"):
        store.snapshot(9000, 101)


def test_deleting_takes_the_subvolumes_inside_with_it(store: Store, archive: Path) -> None:
    store.mount()
    store.unpack(9000, archive, "origin", configured)
    store.snapshot(9000, 101)
    run(["btrfs", "subvolume", "create", store.root(101) / "inner"])
    run(["btrfs", "subvolume", "create", store.root(101) / "inner/innermost"])
    store.delete(101)
    assert store.machine_ids() == [9000]
    store.delete(101)  # already gone


def test_no_room_is_said_before_anything_is_made(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "RESERVE_GIB", 10**6)
    with pytest.raises(LabError, match=r"GiB free, .* stay free: no room for nodes"):
        store.mount()
    assert not store.image.exists()


def test_subvolumes_of_other_machines_are_not_taken_for_ours() -> None:
    listing = (
        "ID 256 gen 9 top level 5 path 10\nID 257 gen 9 top level 5 path 101\nID 258 gen 9 top level 257 path 101/a b\n"
    )
    assert store_module.subvolumes_of(listing, 101) == ["101/a b", "101"]
    assert store_module.subvolumes_of(listing, 10) == ["10"]
