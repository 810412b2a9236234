"""lab/setup.sh where it must refuse, and where it has nothing to do."""

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lab.paths import CHECKOUT

SETUP = CHECKOUT / "lab/setup.sh"


def setup(
    *words: str, before: str = "", cache: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the script in a mount namespace of its own, after some shell lines."""
    env = {**os.environ, **environment} | ({"SALTERN_CACHE": str(cache)} if cache else {})
    script = f'{before}\nexec "$@"'
    argv = ["unshare", "--mount", "sh", "-ec", script, "sh", str(SETUP), *words]
    return subprocess.run(argv, capture_output=True, text=True, env=env, check=False)


def test_another_system_is_refused(tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text('ID=fedora\nVERSION_ID="41"\n')
    done = setup("up", before=f"mount --bind {tmp_path}/os-release $(readlink -f /etc/os-release)", cache=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "lab: this is fedora 41, the lab needs Debian 12. "
        "For a real Proxmox VE from any machine with Python 3.11: docs/production.md"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["os-release"]


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        ("up", "Type: sudo make up"),
        ("start", "Type: sudo make lab-start"),
        ("exec", "Type the same again as root"),
    ],
)
def test_a_user_who_is_not_root_is_refused(command: str, remedy: str) -> None:
    with TemporaryDirectory() as directory:  # pytest's own cannot be entered by others
        Path(directory).chmod(0o755)
        readable = shutil.copy(SETUP, directory)
        argv = ["setpriv", "--reuid=65534", "--clear-groups", "bash", readable, command]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == f"lab: not root: the lab makes namespaces, mounts and cgroups. {remedy}"


def test_down_where_nothing_ever_was(tmp_path: Path) -> None:
    done = setup("down", cache=tmp_path / "empty")
    assert (done.returncode, done.stderr.strip()) == (0, "lab: there was none")
    assert not (tmp_path / "empty").exists()


def test_env_where_nothing_ever_was(tmp_path: Path) -> None:
    done = setup("env", cache=tmp_path / "empty")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no lab: type make up" in done.stderr


def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    old = tmp_path / "bin/python3"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = setup("exec", "true", cache=tmp_path / "cache", PATH=f"{old.parent}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert f"{old} is older than Python 3.11" in done.stderr


def test_a_prepared_machine_hears_nothing() -> None:
    setup("exec", "true")
    done = setup("exec", "sh", "-c", 'echo "$1"; exit 3', "sh", "a b")
    assert (done.returncode, done.stdout, done.stderr) == (3, "a b\n", "")


@pytest.mark.parametrize("command", [[], ["nonsense"]])
def test_an_unknown_command_is_refused(command: list[str]) -> None:
    assert setup(*command).returncode != 0
