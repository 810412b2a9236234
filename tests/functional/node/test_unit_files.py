"""The unit files and the tmpfiles.d file, judged by systemd's own tools."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest

ROOMS = Path(__file__).parents[3] / "salt"
WORK = "/tmp/provisioner"  # noqa: S108 - below the root of a test
CONTEXT = {
    "sandbox": "/opt/sandbox",
    "environment_path": "/opt/sandbox/etc/default/crio",
    "socket": "/opt/sandbox/var/run/crio/crio.sock",
    "binary": "/opt/sandbox/bin/kubelet",
}


def rendered(template: str, **context: Any) -> str:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701 - unit files, no HTML
    return environment.from_string((ROOMS / template).read_text()).render(CONTEXT | context)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The unit files; the binaries that they start are some that every system has."""
    drop_in = tmp_path / "kubelet.service.d/10-kubeadm.conf"
    drop_in.parent.mkdir()
    for path, template in (
        (tmp_path / "crio.service", "crio/files/crio.service.j2"),
        (tmp_path / "kubelet.service", "kubelet/files/kubelet.service.j2"),
        (drop_in, "kubelet/files/10-kubeadm.conf.j2"),
    ):
        text = rendered(template).replace("/opt/sandbox/usr/local/bin/crio", "/bin/true")
        path.write_text(text.replace("/opt/sandbox/bin/kubelet", "/bin/true"))
    return tmp_path


def verify(*units: Path) -> str:
    """What systemd-analyze has to say."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, units)], capture_output=True, text=True, check=False
    )
    return done.stderr if done.returncode or done.stderr else ""


@pytest.mark.parametrize("unit", ["crio.service", "kubelet.service"])
def test_systemd_finds_no_fault(units: Path, unit: str) -> None:
    assert verify(units / unit) == ""


def test_systemd_does_find_faults(units: Path) -> None:
    broken = units / "kubelet.service"
    broken.write_text(broken.read_text().replace("Restart=always", "Restart=sometimes"))
    assert "sometimes" in verify(broken)


def test_units_start_what_lies_in_the_sandbox() -> None:
    assert "\nExecStart=/opt/sandbox/usr/local/bin/crio $CRIO_CONFIG_OPTIONS" in rendered("crio/files/crio.service.j2")
    assert "\nExecStart=/opt/sandbox/bin/kubelet\n" in rendered("kubelet/files/kubelet.service.j2")
    drop_in = rendered("kubelet/files/10-kubeadm.conf.j2")
    assert "\nExecStart=\nExecStart=/opt/sandbox/bin/kubelet $KUBELET_KUBECONFIG_ARGS" in drop_in


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root file system on which CRI-O has run."""
    for path in ("etc", "opt/sandbox/var/run/crio", "opt/sandbox/var/lib/containers", "opt/sandbox/run/runc/0123"):
        (tmp_path / path).mkdir(parents=True)
    for path in ("var/run/crio/version", "var/lib/containers/image"):
        (tmp_path / "opt/sandbox" / path).write_text("x")
    for table in ("passwd", "group"):
        (tmp_path / "etc" / table).write_text("root:x:0:0:root:/root:/bin/sh\n" if table == "passwd" else "root:x:0:\n")
    (tmp_path / "saltern-crio.conf").write_text(rendered("crio/files/tmpfiles.conf.j2"))
    return tmp_path


def tmpfiles(root: Path, *options: str, config: str = "saltern-crio.conf") -> None:
    argv = ["systemd-tmpfiles", f"--root={root}", "--create", "--remove", *options, str(root / config)]
    subprocess.run(argv, check=True)


def test_a_boot_clears_what_is_of_one_boot(root: Path) -> None:
    tmpfiles(root, "--boot")
    sandbox = root / "opt/sandbox"
    assert not (sandbox / "var/run/crio/version").exists()
    assert list((sandbox / "run/runc").iterdir()) == []
    assert (sandbox / "var/run/crio/exits").is_dir()
    assert (sandbox / "var/lib/containers/image").exists()
    assert (root / "run/crio/crio.sock").readlink() == Path("/opt/sandbox/var/run/crio/crio.sock")


def test_nothing_but_a_boot_clears_it(root: Path) -> None:
    """Package installations run systemd-tmpfiles too, beside running containers."""
    tmpfiles(root)
    assert (root / "opt/sandbox/var/run/crio/version").exists()
    assert (root / "opt/sandbox/run/runc/0123").exists()


def test_a_boot_makes_the_directories_in_tmp_again(root: Path) -> None:
    paths = (WORK, f"{WORK}/backup")
    work = [{"path": path, "user": "root", "group": "root", "mode": "0700"} for path in paths]
    # As Debian's own line for /tmp, which empties it.
    lines = f"D /tmp 1777 root root -\n{rendered('os/files/directories.conf.j2', directories=work)}"
    (root / "directories.conf").write_text(lines)
    there = Path(f"{root}{WORK}")
    there.mkdir(parents=True, mode=0o755)
    (there / "left").write_text("x")
    tmpfiles(root, "--boot", config="directories.conf")
    assert [Path(f"{root}{path}").stat().st_mode & 0o7777 for path in paths] == [0o700, 0o700]
    assert [path.name for path in there.iterdir()] == ["backup"]
