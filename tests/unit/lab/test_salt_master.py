"""The lab's Salt master, its configuration read by Salt itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import salt.config

from lab import salt_master
from lab.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(state=tmp_path / "state", cache=tmp_path / "cache")


def test_salt_reads_the_configuration(paths: Paths) -> None:
    assert salt_master.write(paths, "secret", paths.ca / "ca.pem")
    opts = salt.config.master_config(str(paths.salt / "etc/master"))
    assert opts["interface"] == "192.168.100.1"
    assert opts["auto_accept"] is False
    assert opts["saltern"] == {
        "pillar_dirs": [str(paths.checkout / "pillar"), str(paths.pillar)],
        "state_dir": str(paths.state),
    }


def test_nothing_but_the_file_root_can_be_read_by_minions(paths: Paths) -> None:
    config = salt_master.master_config(paths)
    assert config["file_roots"] == {"base": [str(paths.checkout / "salt")]}
    assert "pillar_roots" not in config


def test_everything_stays_in_the_state_directory(paths: Paths) -> None:
    salt_master.write(paths, "secret", paths.ca / "ca.pem")
    opts = salt.config.master_config(str(paths.salt / "etc/master"))
    for key in (
        "pki_dir",
        "cachedir",
        "sock_dir",
        "pidfile",
        "log_file",
        "key_logfile",
        "token_dir",
        "sqlite_queue_dir",
    ):
        assert str(opts[key]).startswith(str(paths.state)), key


def test_salt_cloud_finds_the_provider(paths: Paths) -> None:
    salt_master.write(paths, "secret", paths.ca / "ca.pem")
    opts = salt.config.cloud_config(str(paths.salt / "etc/cloud"))
    provider = opts["providers"]["my-proxmox-config"]["proxmox"]
    assert provider["url"] == "192.168.100.1"
    assert provider["user"] == "saltern@pve"
    assert provider["verify_ssl"] == str(paths.ca / "ca.pem")
    assert set(opts["profiles"]) == {"load_balancer", "control_plane", "worker"}


def test_the_password_is_for_root_only(paths: Paths) -> None:
    salt_master.write(paths, "secret", paths.ca / "ca.pem")
    for path in paths.salt.rglob("*"):
        if path.is_file() and "secret" in path.read_text():
            assert path.stat().st_mode & 0o777 == 0o600
    assert paths.salt.stat().st_mode & 0o777 == 0o700


def test_a_second_time_nothing_changes(paths: Paths) -> None:
    salt_master.write(paths, "secret", paths.ca / "ca.pem")
    assert not salt_master.write(paths, "secret", paths.ca / "ca.pem")


def test_a_master_with_old_code_in_memory_is_noticed(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for folder in ("saltern/proxmox", "_pillar"):
        (checkout / folder).mkdir(parents=True)
    module = checkout / "saltern/proxmox/api.py"
    module.write_text("A = 1\n")
    paths = Paths(state=tmp_path / "state", cache=tmp_path / "cache", checkout=checkout)
    (paths.salt / "run").mkdir(parents=True)
    assert salt_master.code_changed(paths)
    assert not salt_master.code_changed(paths)
    module.write_text("A = 2\n")
    assert salt_master.code_changed(paths)


def test_a_runner_leaves_nothing_on_the_console_but_its_answer(paths: Paths) -> None:
    salt_master.write(paths, "secret", paths.ca / "ca.pem")
    (paths.salt / "cache/master/proc").mkdir(parents=True)  # a running master has it
    command = [Path(sys.executable).with_name("salt-run"), f"--config-dir={paths.salt}/etc", "--out=json"]
    done = subprocess.run([*command, "test.arg", "a"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["args"] == ["a"]
    assert done.stderr == ""
