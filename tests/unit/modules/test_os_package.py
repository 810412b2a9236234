"""The upgrade before a restart: which command, what has changed, who is waited for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from tests.salt_node import Node

BEFORE = {"openssl": "3.0.17-1~deb12u2", "tzdata": "2025b-0+deb12u1"}
AFTER = {"openssl": "3.0.17-1~deb12u3", "tzdata": "2025b-0+deb12u1", "linux-image-6.1.0-41-amd64": "6.1.158-1"}


class Upgrading(Node):
    """A Debian node with two packages; apt-get makes three of them."""

    def __init__(self, root: Path, family: str = "Debian", **answer: Any) -> None:
        super().__init__(root, {}, ["os_package"])
        vars(self.modules["os_package"])["__grains__"] = {"os_family": family}
        self.log: list[Any] = []
        self.packages = BEFORE
        self.answer = {"retcode": 0, "stdout": "", "stderr": ""} | answer
        self.salt |= {
            "preflight_packages.released": lambda: None,
            "pkg.refresh_db": lambda **options: self.log.append(("refresh", options)),
            "pkg.list_pkgs": lambda: self.packages,
            "pkg.upgrade": lambda **options: self.log.append(("pkg.upgrade", options)) or {"openssl": {}},
            "cmd.run_all": self.run,
        }

    def run(self, argv: list[str], **options: Any) -> dict[str, Any]:
        self.log.append((argv, options["env"]))
        self.packages = AFTER
        return self.answer


def test_packages_are_upgraded_new_ones_come_along_and_none_goes(tmp_path: Path) -> None:
    node = Upgrading(tmp_path)
    assert node.salt["os_package.upgrade"]() == {
        "openssl": {"old": "3.0.17-1~deb12u2", "new": "3.0.17-1~deb12u3"},
        "linux-image-6.1.0-41-amd64": {"old": "", "new": "6.1.158-1"},
    }
    refresh, (argv, environment) = node.log
    assert refresh == ("refresh", {"failhard": True})
    assert argv[0] == "apt-get" and argv[-2:] == ["--with-new-pkgs", "upgrade"]
    assert environment["DEBIAN_FRONTEND"] == "noninteractive" and environment["NEEDRESTART_SUSPEND"]


def test_other_families_do_it_by_their_own_manager(tmp_path: Path) -> None:
    node = Upgrading(tmp_path, "RedHat")
    assert node.salt["os_package.upgrade"]() == {"openssl": {}}
    assert node.log == [("pkg.upgrade", {"refresh": True})]


def test_a_failure_has_the_package_managers_words(tmp_path: Path) -> None:
    node = Upgrading(tmp_path, retcode=100, stderr="E: Sub-process /usr/bin/dpkg returned an error code (1)\n")
    with pytest.raises(CommandExecutionError, match=r"not upgraded: apt-get .*dpkg returned an error code"):
        node.salt["os_package.upgrade"]()


def test_another_package_manager_at_work_is_named(tmp_path: Path) -> None:
    node = Upgrading(tmp_path)
    held = {"lock": "/var/lib/dpkg/lock", "pid": 812, "command": "/usr/bin/unattended-upgrade"}
    node.salt["preflight_packages.released"] = lambda: held
    with pytest.raises(CommandExecutionError, match=r"/usr/bin/unattended-upgrade \(PID 812\) is at work"):
        node.salt["os_package.upgrade"]()
    assert node.log == []
