"""Tar archives whose bytes depend on their contents only: fixed times and owners, sorted names."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# Any fixed moment does; the start of 2020 keeps tools quiet that warn about files from 1970.
MTIME_S = 1577836800
# Archives are read on the same machine a moment later, so unpacking time matters and size does not.
GZIP_LEVEL = 1


# The file capability cap_net_bind_service+ep as the kernel stores it (vfs_cap_data, revision 2: capability.h), in a
# header that tar and container images use for extended attributes. All its bytes are ASCII.
_BIND_LOW_PORTS = {"SCHILY.xattr.security.capability": "\x01\0\0\x02\0\x04" + "\0" * 14}


@dataclass(frozen=True)
class Entry:
    """One member of an archive: a file (from `source` or `content`), a link (`target`) or, with none, a directory.

    Args:
        path: name in the archive, without a leading slash.
        mode: permission bits.
        source: file on disk whose bytes are stored.
        content: the bytes themselves.
        target: what a symbolic link points to.
        low_ports: whether the program may listen below port 1024 without being root (a file capability).
    """

    path: str
    mode: int = 0o755
    source: Path | None = None
    content: bytes | None = None
    target: str | None = None
    low_ports: bool = False


def tree(root: Path, prefix: str = "") -> list[Entry]:
    """List everything below a directory as entries, sorted by path; sockets and device nodes are left out.

    Args:
        root: directory to walk.
        prefix: put before each path, e.g. "cilium/".
    """
    paths = sorted(root.rglob("*"))
    return [entry for path in paths for entry in _entry_of(path, f"{prefix}{path.relative_to(root)}")]


def _entry_of(path: Path, name: str) -> Iterator[Entry]:
    if path.is_symlink():
        yield Entry(name, 0o777, target=str(path.readlink()))
    elif path.is_dir():
        yield Entry(name, path.stat().st_mode & 0o7777)
    elif path.is_file():
        yield Entry(name, path.stat().st_mode & 0o7777, source=path)


def write_tar(stream: BinaryIO, entries: Iterable[Entry]) -> None:
    """Write an uncompressed archive of `entries`, in the order given, owned by root and dated MTIME_S."""
    listed = list(entries)
    extended = any(entry.low_ports for entry in listed)
    layout = tarfile.PAX_FORMAT if extended else tarfile.GNU_FORMAT
    with tarfile.open(fileobj=stream, mode="w", format=layout) as archive:
        for entry in listed:
            _add(archive, entry)


def write_tar_gz(path: Path, entries: Iterable[Entry]) -> None:
    """Write a gzip-compressed archive of `entries` to `path`; the same entries give the same bytes."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", GZIP_LEVEL, raw, mtime=0) as packed:
        write_tar(packed, entries)  # type: ignore[arg-type]  # typeshed: GzipFile is no BinaryIO, yet it writes like one


def _add(archive: tarfile.TarFile, entry: Entry) -> None:
    info = tarfile.TarInfo(entry.path)
    info.mode, info.mtime = entry.mode, MTIME_S
    info.pax_headers = _BIND_LOW_PORTS if entry.low_ports else {}
    if entry.target is not None:
        info.type, info.linkname = tarfile.SYMTYPE, entry.target
        archive.addfile(info)
    elif entry.source is not None:
        info.size = entry.source.stat().st_size
        with entry.source.open("rb") as file:
            archive.addfile(info, file)
    elif entry.content is not None:
        info.size = len(entry.content)
        archive.addfile(info, io.BytesIO(entry.content))
    else:
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
