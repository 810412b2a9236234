"""Debian packages: a set with all that it depends on, single files out of a package, and a flat apt repository."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path

from lab.artefacts import command
from lab.artefacts.errors import ArtefactError
from lab.artefacts.store import sha256_of

APT_HINT = "run `apt-get update` (an old index names packages that the mirror no longer has), then run again"


def download_closure(packages: Sequence[str], directory: Path) -> list[Path]:
    """Download packages and everything they depend on, as for a machine that has none installed.

    Args:
        packages: names in the suite that the machine itself uses.
        directory: gets the .deb files, existing or not.

    Returns:
        The .deb files, sorted by name.
    """
    (directory / "partial").mkdir(parents=True, exist_ok=True)
    status = directory / "status"
    status.write_text("")
    command.run(
        [
            "apt-get",
            "install",
            "--download-only",
            "--yes",
            "--no-install-recommends",
            "-o",
            f"Dir::State::status={status}",
            "-o",
            f"Dir::Cache::archives={directory}",
            "-o",
            "APT::Sandbox::User=root",
            *packages,
        ],
        hint=APT_HINT,
    )
    shutil.rmtree(directory / "partial")
    for file in {status, *directory.glob("lock*")}:
        file.unlink()
    for deb in directory.glob("*.deb"):
        deb.rename(deb.with_name(archive_name(deb.name)))
    return sorted(directory.glob("*.deb"))


def archive_name(name: str) -> str:
    """Return a package's file name as Debian's archive has it, without the epoch: "x_1%3a2_all.deb" -> "x_2_all.deb".

    apt's cache writes the epoch as "1%3a", and a web server would take "%3a" in a request for a colon.
    """
    return re.sub(r"_\d+%3a", "_", name)


def download_one(package: str, directory: Path) -> Path:
    """Download one package without its dependencies; return the .deb."""
    directory.mkdir(parents=True, exist_ok=True)
    command.run(["apt-get", "download", "-o", "APT::Sandbox::User=root", package], cwd=directory, hint=APT_HINT)
    return next(directory.glob(f"{package}_*.deb"))


def read_member(deb: Path, member: str) -> bytes:
    """Return one file out of a package.

    Args:
        deb: the package.
        member: its path as the package names it, e.g. "./usr/sbin/runc".

    Raises:
        ArtefactError: the package has no such file.
    """
    with contents(deb) as archive:
        try:
            file = archive.extractfile(member)
        except KeyError:
            file = None
        if file is None:
            raise ArtefactError(f"{deb.name} holds no file {member}: the package changed; correct BUNDLE_PACKAGES")
        return file.read()


def contents(deb: Path) -> tarfile.TarFile:
    """Return the archive of a package's files, open for reading."""
    done = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], capture_output=True)  # noqa: S603, S607 -- fixed argv
    if done.returncode:
        text = done.stderr.decode(errors="replace").strip()
        raise ArtefactError(f"{deb} cannot be unpacked: {text}; remove it and run again")
    return tarfile.open(fileobj=io.BytesIO(done.stdout))


def write_index(directory: Path) -> None:
    """Make a directory of .deb files a flat apt repository: Packages, Packages.gz and Release.

    A node uses it as `deb [trusted=yes] http://MIRROR/debian ./` (sources.list(5), "flat repository").
    """
    index = "\n".join(_stanza(deb) for deb in sorted(directory.glob("*.deb"))).encode()
    (directory / "Packages").write_bytes(index)
    (directory / "Packages.gz").write_bytes(gzip.compress(index, mtime=0))
    (directory / "Release").write_text(_release(directory))


def _stanza(deb: Path) -> str:
    fields = command.run(["dpkg-deb", "--field", deb]).rstrip("\n")
    return f"{fields}\nFilename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {sha256_of(deb)}\n"


def _release(directory: Path) -> str:
    newest_s = max((deb.stat().st_mtime for deb in directory.glob("*.deb")), default=0)
    sums = [f" {_sum_line(directory / name)}" for name in ("Packages", "Packages.gz")]
    date = formatdate(newest_s, usegmt=True)
    return "\n".join(["Origin: Saltern lab", "Label: Saltern lab", f"Date: {date}", "SHA256:", *sums, ""])


def _sum_line(path: Path) -> str:
    content = path.read_bytes()
    return f"{hashlib.sha256(content).hexdigest()} {len(content)} {path.name}"
