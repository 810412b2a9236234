"""What of a package goes into Cilium's base layer, and where it lies there."""

from pathlib import Path

import pytest

from lab.artefacts import cilium_base


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("bin/bash", "usr/bin/bash"),
        ("lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
        ("lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
        ("sbin", "usr/sbin"),
        ("usr/bin/env", "usr/bin/env"),
        ("etc/bash.bashrc", "etc/bash.bashrc"),
        ("library", "library"),
    ],
)
def test_old_paths_move_into_usr(path: str, place: str) -> None:
    assert cilium_base.merged(path) == place


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        (".", False),
        ("usr/share/doc", False),
        ("usr/share/doc/bash/README", False),
        ("usr/share/docbook", True),
        ("usr/bin/clang-19", True),
        ("dev", False),
        ("usr/lib/x86_64-linux-gnu/libLLVM.so.19.1", True),
    ],
)
def test_documentation_and_the_like_stay_out(path: str, taken: bool) -> None:
    assert cilium_base.wanted(path) is taken


def test_links_take_the_place_of_what_packages_bring(tmp_path: Path) -> None:
    tools = tmp_path / "root" / "usr" / "bin"
    tools.mkdir(parents=True)
    (tools / "bash").write_bytes(b"bash")
    (tools / "sh").symlink_to("dash")

    entries = {entry.path: entry for entry in cilium_base.entries(tmp_path)}

    assert list(entries) == sorted(entries)
    assert entries["usr/bin/sh"].target == "bash"
    assert entries["usr/bin/bash"].source == tools / "bash"
    assert entries["bin"].target == "usr/bin"
    assert entries["tmp"].mode == 0o1777
