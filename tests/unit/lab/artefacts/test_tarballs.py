"""The same entries give the same bytes; what a reader finds is what was asked for."""

import os
import struct
import subprocess
import tarfile
from pathlib import Path

from lab.artefacts.tarballs import MTIME_S, Entry, tree, write_tar, write_tar_gz


def sample_tree(root: Path) -> Path:
    """Return a directory with a program, a text and a link."""
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "tool").write_bytes(b"\x7fELF")
    (root / "bin" / "tool").chmod(0o755)
    (root / "notes").write_text("text")
    (root / "notes").chmod(0o644)
    (root / "latest").symlink_to("bin/tool")
    return root


def test_bytes_do_not_depend_on_time_or_place(tmp_path: Path) -> None:
    first, second = sample_tree(tmp_path / "one"), sample_tree(tmp_path / "two")
    os.utime(second / "notes", (1, 1))

    write_tar_gz(tmp_path / "one.tgz", tree(first))
    write_tar_gz(tmp_path / "two.tgz", tree(second))

    assert (tmp_path / "one.tgz").read_bytes() == (tmp_path / "two.tgz").read_bytes()


def test_bytes_depend_on_contents(tmp_path: Path) -> None:
    root = sample_tree(tmp_path / "one")
    write_tar_gz(tmp_path / "before.tgz", tree(root))
    (root / "notes").write_text("TEXT")
    write_tar_gz(tmp_path / "after.tgz", tree(root))

    assert (tmp_path / "before.tgz").read_bytes() != (tmp_path / "after.tgz").read_bytes()


def test_members_are_roots_with_mode_and_contents(tmp_path: Path) -> None:
    entries = [*tree(sample_tree(tmp_path / "one"), "x/"), Entry("y", 0o600, content=b"made up")]
    write_tar_gz(tmp_path / "archive.tgz", entries)

    with tarfile.open(tmp_path / "archive.tgz") as archive:
        found = {member.name: member for member in archive}
        text = archive.extractfile("y")
        assert text is not None
        assert text.read() == b"made up"
    assert list(found) == ["x/bin", "x/bin/tool", "x/latest", "x/notes", "y"]
    assert found["x/bin"].isdir()
    assert found["x/bin/tool"].mode == 0o755
    assert found["x/latest"].linkname == "bin/tool"
    assert found["y"].mode == 0o600
    assert {(member.uid, member.gid, member.mtime) for member in found.values()} == {(0, 0, MTIME_S)}


def test_a_program_may_listen_on_low_ports(tmp_path: Path) -> None:
    """Unpacked by GNU tar, the kernel reads the header's bytes as cap_net_bind_service+ep."""
    archive = tmp_path / "layer.tar"
    with archive.open("wb") as file:
        write_tar(file, [Entry("plain", content=b""), Entry("server", content=b"", low_ports=True)])
    (tmp_path / "out").mkdir()
    run = subprocess.run(
        ["tar", "--xattrs", "--xattrs-include=security.*", "-xf", archive, "-C", tmp_path / "out"], check=False
    )
    assert run.returncode == 0
    granted = os.getxattr(tmp_path / "out/server", "security.capability")
    version, permitted = struct.unpack("<II", granted[:8])
    assert version == 0x02000001  # revision 2, effective
    assert permitted == 1 << 10  # CAP_NET_BIND_SERVICE
    assert "security.capability" not in os.listxattr(tmp_path / "out/plain")
