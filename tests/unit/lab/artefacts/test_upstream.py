"""Which sites answer, and what is kept of a download."""

import hashlib
from pathlib import Path

import pytest

from lab.artefacts import upstream
from lab.artefacts.errors import ChecksumError, UnreachableError
from tests.unit.lab.artefacts.conftest import Site

NOBODY = "http://127.0.0.1:1"  # tcpmux: nothing listens there


def test_sites_that_answer(site: Site) -> None:
    assert upstream.answering([site.url, NOBODY, site.url]) == {site.url}


def test_origin_of_a_url() -> None:
    assert upstream.origin("https://dl.k8s.io/release/v1/kubeadm") == "https://dl.k8s.io"
    assert upstream.origin("http://127.0.0.1:81/x") == "http://127.0.0.1:81"


def test_the_pinned_file_is_kept(site: Site, tmp_path: Path) -> None:
    site.put("tool", b"the tool")

    upstream.download(f"{site.url}/tool", hashlib.sha256(b"the tool").hexdigest(), tmp_path / "tool")

    assert (tmp_path / "tool").read_bytes() == b"the tool"


def test_another_file_is_refused_with_both_sums(site: Site, tmp_path: Path) -> None:
    site.put("tool", b"another tool")
    pinned = hashlib.sha256(b"the tool").hexdigest()

    with pytest.raises(ChecksumError) as refusal:
        upstream.download(f"{site.url}/tool", pinned, tmp_path / "tool")

    assert pinned in str(refusal.value)
    assert hashlib.sha256(b"another tool").hexdigest() in str(refusal.value)
    assert not (tmp_path / "tool").exists()


@pytest.mark.parametrize("url", [f"{NOBODY}/tool", "SITE/absent"])
def test_what_does_not_come_is_unreachable(site: Site, tmp_path: Path, url: str) -> None:
    with pytest.raises(UnreachableError, match=r"/tool|/absent"):
        upstream.download(url.replace("SITE", site.url), "0" * 64, tmp_path / "tool")
    assert not (tmp_path / "tool").exists()


def test_a_connection_that_breaks_off_is_unreachable_not_a_wrong_checksum(site: Site, tmp_path: Path) -> None:
    site.put("tool", b"the tool" * 1000)
    site.cut_bytes = 100

    with pytest.raises(UnreachableError, match=r"broke off after 100 of 8000 bytes"):
        upstream.download(f"{site.url}/tool", "0" * 64, tmp_path / "tool")
    assert not (tmp_path / "tool").exists()
