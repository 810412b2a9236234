"""The search finds what is there, in every file that it should look into, and says where without saying what."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.cluster.search import Scanner, files_below
from tests.cluster.secrets import CertificateKeys, text_secret

from .conftest import CERTIFICATE_KEY, etcd_entry, write

WORD = b"correct-horse-battery-staple"
PASSWORD = text_secret("password", "file", WORD)


def scanner() -> Scanner:
    """Looks for one password and one certificate key."""
    value = etcd_entry(bytes.fromhex(CERTIFICATE_KEY)).partition(b"\x12")[2][2:]
    return Scanner([PASSWORD], CertificateKeys([value]))


def test_a_finding_names_place_file_and_secret_and_not_its_value(tmp_path: Path) -> None:
    file = write(tmp_path / "a log", b"\0binary " + WORD + b"\n" + WORD)
    [found] = scanner().files("log of a node", [file])
    assert str(found) == f"log of a node: {file} holds: password (file)"
    assert "horse" not in repr(found)


def test_many_files_and_none(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{'long' * 40}-{number}", b"nothing") for number in range(3000)]
    write(files[2718], WORD)
    assert [found.file for found in scanner().files("place", files)] == [str(files[2718])]
    assert scanner().files("place", []) == []


def test_a_file_that_is_gone_does_not_hide_the_others(tmp_path: Path) -> None:
    there = write(tmp_path / "there", WORD)
    assert [found.file for found in scanner().files("place", [tmp_path / "gone", there])] == [str(there)]


def test_a_certificate_key_among_sums(tmp_path: Path) -> None:
    file = write(tmp_path / "config.yaml", f"sum: {'0f' * 32}\ncertificateKey: {CERTIFICATE_KEY}\n".encode())
    write(tmp_path / "sums", f"{'0f' * 32}  a\n{'f0' * 64}  b\n".encode())
    found = scanner().files("place", sorted(tmp_path.iterdir()))
    assert [(finding.file, finding.secret) for finding in found] == [(str(file), "certificate key")]


def test_the_caller_may_name_what_lies_at_an_offset(tmp_path: Path) -> None:
    file = write(tmp_path / "events", b"." * 100 + WORD)
    [found] = scanner().files("recording", [file], lambda path, offset: f"{path.name} at {offset}")
    assert found.file == "events at 100"


def test_patterns_are_not_on_disk_nor_in_arguments(tmp_path: Path, monkeypatch) -> None:
    """A program in grep's place writes down its arguments."""
    noted = tmp_path / "arguments"
    write(tmp_path / "bin/grep", f'#!/bin/sh\necho "$@" >>{noted}\n'.encode(), 0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    scanner().text("place", "text", b"")
    assert "--fixed-strings" in noted.read_text()
    assert WORD.decode() not in noted.read_text()


def test_only_what_others_can_open(tmp_path: Path) -> None:
    write(tmp_path / "open/read", b"", 0o644)
    write(tmp_path / "open/private", b"", 0o640)
    write(tmp_path / "closed/read", b"", 0o644)
    write(tmp_path / "unlisted/read", b"", 0o604)
    write(tmp_path / "lib/site-packages/example.key", b"", 0o644)
    (tmp_path / "open/link").symlink_to("private")
    os.mkfifo(tmp_path / "open/pipe", 0o644)
    (tmp_path / "closed").chmod(0o750)
    (tmp_path / "unlisted").chmod(0o711)  # who knows the name can open it
    tmp_path.chmod(0o700)  # the top counts as open: it is not relied upon
    found = {str(path.relative_to(tmp_path)) for path in files_below(tmp_path, others_only=True)}
    assert found == {"open/read", "unlisted/read"}
    everything = {str(path.relative_to(tmp_path)) for path in files_below(tmp_path)}
    assert everything == found | {"open/private", "closed/read", "lib/site-packages/example.key"}


def test_what_is_left_out(tmp_path: Path) -> None:
    for name in ("proc/x", "deep/proc/x", "one", "two"):
        write(tmp_path / name, b"")
    found = {str(path.relative_to(tmp_path)) for path in files_below(tmp_path, ("proc", "one"))}
    assert found == {"deep/proc/x", "two"}
    assert list(files_below(tmp_path / "missing")) == []


def test_a_file_whose_content_claims_to_be_old_is_looked_into(tmp_path: Path) -> None:
    began = time.time() - 10
    file = write(tmp_path / "x", b"", 0o644)
    os.utime(file, (0, 0))
    assert list(files_below(tmp_path, changed_since=began)) == [file]
    assert list(files_below(tmp_path, changed_since=time.time() + 10)) == []
