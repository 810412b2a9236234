"""Where the template's packages come from: the machine's own apt configuration."""

from pathlib import Path

import pytest

from lab.errors import LabError
from lab.nodes.mirror_sources import debian_sources, transport_options

DEB822 = """\
Types: deb
# http://snapshot.example.org/archive/debian/20250520T000000Z
URIs: http://mirror.example.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://mirror.example.org/debian-security
Suites: bookworm-security
Components: main contrib
"""


@pytest.fixture
def etc_apt(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_deb822_sources(etc_apt: Path) -> None:
    (etc_apt / "sources.list.d/debian.sources").write_text(DEB822)
    keyring = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert debian_sources("bookworm", etc_apt) == [
        f"deb {keyring} http://mirror.example.org/debian bookworm main",
        f"deb {keyring} http://mirror.example.org/debian bookworm-updates main",
        "deb http://mirror.example.org/debian-security bookworm-security main",
    ]


def test_one_line_sources(etc_apt: Path) -> None:
    (etc_apt / "sources.list").write_text(
        "# deb http://old.example bookworm main\n"
        "deb [trusted=yes] http://mirror.example/debian bookworm main contrib  # ours\n"
        "deb-src http://mirror.example/debian bookworm main\n"
        "deb http://mirror.example/debian bookworm contrib\n"
    )
    assert debian_sources("bookworm", etc_apt) == ["deb [trusted=yes] http://mirror.example/debian bookworm main"]


def test_other_publishers_and_disabled_sources_are_left_out(etc_apt: Path) -> None:
    (etc_apt / "sources.list").write_text("deb http://mirror.example/debian bookworm main\n")
    (etc_apt / "sources.list.d/cloud.list").write_text("deb https://packages.example/apt cloud-sdk-bookworm main\n")
    (etc_apt / "sources.list.d/off.sources").write_text("Enabled: no\n" + DEB822)
    assert debian_sources("bookworm", etc_apt)[0] == "deb http://mirror.example/debian bookworm main"
    assert "packages.example" not in "".join(debian_sources("bookworm", etc_apt))
    assert "debian.org/debian bookworm" not in "".join(debian_sources("bookworm", etc_apt))


def test_updates_alone_are_not_enough(etc_apt: Path) -> None:
    (etc_apt / "sources.list").write_text("deb http://mirror.example/debian bookworm-updates main\n")
    with pytest.raises(LabError, match="no source of Debian bookworm main"):
        debian_sources("bookworm", etc_apt)


def test_how_to_reach_the_mirror_is_taken_over_and_nothing_else() -> None:
    dump = (
        'Acquire "";\nAcquire::Check-Date "false";\nAcquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::https::CaInfo "";\nAPT::Architecture "amd64";\nDPkg::Pre-Invoke:: "rm -rf /";\n'
        'Acquire::IndexTargets::deb::Packages::Optional "0";\n'
    )
    assert transport_options(dump) == [
        'Acquire::Check-Date "false";',
        'Acquire::http::Proxy "http://proxy.example:3128";',
    ]
