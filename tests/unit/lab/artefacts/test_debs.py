"""Packages made by dpkg-deb itself: what is read out of them, and the index that apt finds them by."""

import gzip
import hashlib
import subprocess
from pathlib import Path

import pytest

from lab.artefacts import debs
from lab.artefacts.errors import ArtefactError
from tests.unit.lab.artefacts.conftest import Site


def make_package(directory: Path, name: str, content: bytes) -> Path:
    """Build a small package with one program; return the .deb."""
    tree = directory / f"{name}.tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr" / "bin").mkdir(parents=True)
    (tree / "usr" / "bin" / name).write_bytes(content)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1:2.3-4\nArchitecture: all\nMaintainer: Lab <lab@example.org>\n"
        "Description: sample\n"
    )
    deb = directory / f"{name}_2.3-4_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, deb], check=True, capture_output=True)
    return deb


def test_one_file_out_of_a_package(tmp_path: Path) -> None:
    deb = make_package(tmp_path, "sample", b"\x7fELF sample")

    assert debs.read_member(deb, "./usr/bin/sample") == b"\x7fELF sample"


def test_a_file_that_the_package_lacks_is_named(tmp_path: Path) -> None:
    deb = make_package(tmp_path, "sample", b"")

    with pytest.raises(ArtefactError, match=r"sample_2.3-4_all.deb holds no file ./usr/bin/other"):
        debs.read_member(deb, "./usr/bin/other")


def test_a_broken_package_is_named(tmp_path: Path) -> None:
    deb = tmp_path / "broken.deb"
    deb.write_bytes(b"not a package of Debian")

    with pytest.raises(ArtefactError, match=r"broken.deb cannot be unpacked: dpkg-deb: error: "):
        debs.read_member(deb, "./usr/bin/other")


def test_index_describes_each_package_and_release_describes_the_index(tmp_path: Path) -> None:
    packages = {name: make_package(tmp_path, name, name.encode()) for name in ("alpha", "beta")}
    debs.write_index(tmp_path)

    index = (tmp_path / "Packages").read_bytes()
    stanzas = index.decode().split("\n\n")
    assert [stanza.splitlines()[0] for stanza in stanzas] == ["Package: alpha", "Package: beta"]
    for (name, deb), stanza in zip(packages.items(), stanzas, strict=True):
        assert f"Filename: ./{name}_2.3-4_all.deb" in stanza
        assert f"SHA256: {hashlib.sha256(deb.read_bytes()).hexdigest()}" in stanza
        assert f"Size: {deb.stat().st_size}" in stanza
    assert gzip.decompress((tmp_path / "Packages.gz").read_bytes()) == index
    assert f" {hashlib.sha256(index).hexdigest()} {len(index)} Packages\n" in (tmp_path / "Release").read_text()


@pytest.mark.parametrize(
    ("cached", "archived"),
    [("x_1%3a2.3-4_all.deb", "x_2.3-4_all.deb"), ("x_2.3-4_all.deb", "x_2.3-4_all.deb"), ("x_1%2b1_all.deb",) * 2],
)
def test_file_names_are_those_of_debians_archive(cached: str, archived: str) -> None:
    assert debs.archive_name(cached) == archived


def test_apt_fetches_the_packages_by_the_index(site: Site, tmp_path: Path) -> None:
    """apt itself reads the repository over HTTP, with lists and caches of its own."""
    repository = site.root / "debian"
    repository.mkdir()
    make_package(repository, "alpha", b"alpha")
    debs.write_index(repository)
    (tmp_path / "lists" / "partial").mkdir(parents=True)
    (tmp_path / "cache" / "archives" / "partial").mkdir(parents=True)
    (tmp_path / "status").write_text("")
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] {site.url}/debian ./\n")
    options = {
        "Dir::Etc::SourceList": tmp_path / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": tmp_path / "lists",
        "Dir::State::status": tmp_path / "status",
        "Dir::Cache": tmp_path / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::http::Proxy": "false",  # the machine's own proxy does not know the loopback site
    }
    apt = ["apt-get", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]

    subprocess.run([*apt, "update"], check=True, capture_output=True)
    subprocess.run([*apt, "download", "alpha"], check=True, capture_output=True, cwd=tmp_path)

    fetched = tmp_path / "alpha_1%3a2.3-4_all.deb"  # apt puts the epoch in again
    assert debs.read_member(fetched, "./usr/bin/alpha") == b"alpha"
