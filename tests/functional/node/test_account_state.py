"""account.present, with an account database of the test's own behind Salt's user and group functions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.functional.node.conftest import Minion

UID, GID = 54321, 54322


class Accounts:
    """Users and groups as Salt tells of them; a user that is given no number gets the next."""

    def __init__(self, minion: Minion) -> None:
        self.users: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, int] = {}
        minion.replace("user.info", lambda name: self.users.get(name, {}))
        minion.replace("group.info", lambda name: {"gid": self.groups[name]} if name in self.groups else {})
        minion.replace("group.add", self.add_group)
        minion.replace("user.add", self.add_user)
        for verb, key in (("chgid", "gid"), ("chhome", "home"), ("chshell", "shell")):
            minion.replace(f"user.{verb}", lambda name, value, key=key: not self.users[name].update({key: value}))
        minion.replace("account.user_name", self.user_name)
        minion.replace("account.group_name", lambda number: self.name(self.groups, number))

    def user_name(self, number: int) -> str:
        return self.name({name: user["uid"] for name, user in self.users.items()}, number)

    @staticmethod
    def name(numbers: dict[str, int], number: int) -> str:
        return next((name for name, own in numbers.items() if own == number), str(number))

    def add_group(self, name: str, gid: int | None = None) -> bool:
        self.groups[name] = gid or 1000
        return True

    def add_user(self, name: str, uid: int | None, gid: int, home: str, shell: str, createhome: bool) -> bool:
        assert createhome
        self.users[name] = {"uid": uid or 1000, "gid": gid, "home": home, "shell": shell}
        return True


@pytest.fixture
def accounts(minion: Minion) -> Accounts:
    return Accounts(minion)


@pytest.fixture
def where(tmp_path: Path) -> dict[str, Any]:
    return {"user": "k8s", "group": "k8s", "home": str(tmp_path / "home")}


def test_an_account_is_made_once(minion: Minion, accounts: Accounts, where: dict[str, Any]) -> None:
    done = minion.settle("account.present", **where)
    assert done["changes"] == {
        key: {"old": None, "new": new}
        for key, new in (
            ("group", "k8s"), ("user", "k8s"), ("primary_group", "k8s"), ("home", where["home"]), ("shell", "/bin/bash")
        )
    }  # fmt: skip
    assert accounts.users["k8s"] == {"uid": 1000, "gid": 1000, "home": where["home"], "shell": "/bin/bash"}


def test_an_account_that_was_removed_owns_its_home_again(
    minion: Minion, accounts: Accounts, where: dict[str, Any]
) -> None:
    home = Path(where["home"])
    home.mkdir()
    os.chown(home, UID, GID)
    minion.settle("account.present", **where)
    assert (accounts.users["k8s"]["uid"], accounts.groups["k8s"]) == (UID, GID)


def test_the_numbers_of_another_account_are_not_taken(
    minion: Minion, accounts: Accounts, where: dict[str, Any]
) -> None:
    home = Path(where["home"])
    home.mkdir()
    os.chown(home, UID, GID)
    accounts.users["other"] = {"uid": UID, "gid": GID, "home": "/", "shell": ""}
    accounts.groups["other"] = GID
    minion.settle("account.present", **where)
    assert (accounts.users["k8s"]["uid"], accounts.groups["k8s"]) == (1000, 1000)


@pytest.mark.parametrize(
    ("key", "value", "change"),
    [
        ("shell", "/bin/sh", {"shell": {"old": "/bin/sh", "new": "/bin/bash"}}),
        ("gid", 100, {"primary_group": {"old": "users", "new": "k8s"}}),
    ],
)
def test_what_was_changed_is_changed_back(
    minion: Minion, accounts: Accounts, where: dict[str, Any], key: str, value: object, change: object
) -> None:
    minion.apply("account.present", **where)
    accounts.groups["users"] = 100
    accounts.users["k8s"][key] = value
    assert minion.settle("account.present", **where)["changes"] == change


def test_a_dry_run_knows_whose_files_will_be_whose(minion: Minion, tmp_path: Path) -> None:
    """The real account functions: what the account that would be made owned needs no new owner."""
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, UID, GID)
    directories = [{"path": str(home), "user": "saltern-test", "group": "saltern-test", "mode": "0755"}]
    assert minion.preview("directory_tree.present", directories=directories)["changes"] != {}
    minion.preview("account.present", user="saltern-test", group="saltern-test", home=str(home))
    assert minion.preview("directory_tree.present", directories=directories)["changes"] == {}


def test_what_salt_could_not_do_is_a_failure(minion: Minion, accounts: Accounts, where: dict[str, Any]) -> None:
    minion.replace("user.add", lambda *_args, **_options: False)
    done = minion.apply("account.present", **where)
    assert done["result"] is False
    assert done["comment"] == "user k8s could not be made: see the minion's log (journalctl -u salt-minion)"
