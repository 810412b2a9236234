"""A seed drive becomes the directory in which cloud-init of a container looks."""

import io
from pathlib import Path

import pycdlib
import pytest

from lab.errors import LabError
from lab.nodes import seed

FILES = {"user-data": b"#cloud-config\n{}\n", "meta-data": b"instance-id: a\n", "network-config": b"version: 2\n"}


def iso(path: Path, label: str = "cidata", names: str = "rock ridge", files: dict[str, bytes] = FILES) -> Path:
    """An image as clients build it: with Rock Ridge, with Joliet, or with both."""
    image = pycdlib.PyCdlib()
    options: dict[str, object] = {"interchange_level": 3, "vol_ident": label}
    options |= {"rock_ridge": "1.09"} if "rock ridge" in names else {}
    options |= {"joliet": 3} if "joliet" in names else {}
    image.new(**options)
    for name, content in files.items():
        where: dict[str, str] = {"iso_path": f"/{name.upper().replace('-', '')[:8]}.;1"}
        where |= {"rr_name": name} if "rock ridge" in names else {}
        where |= {"joliet_path": f"/{name}"} if "joliet" in names else {}
        image.add_fp(io.BytesIO(content), len(content), **where)
    image.write(str(path))
    image.close()
    return path


def found(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / seed.SEED_DIRECTORY).iterdir()}


@pytest.mark.parametrize("names", ["rock ridge", "joliet", "rock ridge and joliet"])
@pytest.mark.parametrize("label", ["cidata", "CIDATA"])
def test_the_files_of_a_seed_are_found_by_their_names(tmp_path: Path, names: str, label: str) -> None:
    assert seed.insert(tmp_path, [iso(tmp_path / "a.iso", label, names)])
    assert found(tmp_path) == FILES


def test_only_root_of_the_node_reads_it(tmp_path: Path) -> None:
    seed.insert(tmp_path, [iso(tmp_path / "a.iso")])
    assert (tmp_path / seed.SEED_DIRECTORY).stat().st_mode & 0o777 == 0o700


def test_a_drive_with_another_label_is_no_seed(tmp_path: Path) -> None:
    other = iso(tmp_path / "driver.iso", label="VIRTIO")
    assert not seed.insert(tmp_path, [other])
    assert seed.insert(tmp_path, [other, iso(tmp_path / "a.iso")])
    assert found(tmp_path) == FILES


def test_a_new_seed_replaces_the_old_one_completely(tmp_path: Path) -> None:
    seed.insert(tmp_path, [iso(tmp_path / "a.iso")])
    seed.insert(tmp_path, [iso(tmp_path / "b.iso", files={"user-data": b"b", "meta-data": b"b"})])
    assert found(tmp_path) == {"user-data": b"b", "meta-data": b"b"}


def test_an_ejected_seed_is_gone(tmp_path: Path) -> None:
    seed.insert(tmp_path, [iso(tmp_path / "a.iso")])
    assert not seed.insert(tmp_path, [])
    assert not (tmp_path / seed.SEED_DIRECTORY).exists()


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.iso").write_bytes(b"x" * 70000)
    with pytest.raises(LabError, match=r"x\.iso: not a readable ISO image"):
        seed.insert(tmp_path, [tmp_path / "x.iso"])
    with pytest.raises(LabError, match=r"missing\.iso: not a readable ISO image"):
        seed.insert(tmp_path, [tmp_path / "missing.iso"])
