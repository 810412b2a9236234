"""Privileges from users, groups, tokens, pools and inheritance."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.paths import CHECKOUT
from lab.proxmox.access import ROOT, Access, Identity, Rule
from lab.proxmox.errors import ApiError, ProxmoxError
from lab.proxmox.privileges import BUILT_IN_ROLES, PRIVILEGES, SALTERN_ROLES
from lab.proxmox.store import Store

USER = Identity("u@pve")


@pytest.fixture
def access(tmp_path: Path) -> Access:
    made = Access(Store(tmp_path), lambda path: ["k8s"] if path == "/vms/101" else [])
    made.add_user("u@pve", "secret-1")
    for name, privileges in {"audit": ["VM.Audit"], "power": ["VM.PowerMgmt"], "config": ["VM.Config.CPU"]}.items():
        made.set_role(name, privileges, new=True)
    return made


def grant(
    access: Access, path: str, role: str, subject: str = "u@pve", kind: str = "user", propagate: bool = True
) -> None:
    access.change_rule(Rule(path, kind, subject, role, propagate), delete=False)


def test_root_may_everything(access: Access) -> None:
    assert access.privileges(Identity(ROOT), "/anything") == PRIVILEGES


def test_inheritance_and_replacement(access: Access) -> None:
    grant(access, "/", "audit")
    grant(access, "/vms", "power")
    assert access.privileges(USER, "/nodes/pve") == {"VM.Audit"}
    assert access.privileges(USER, "/vms/100") == {"VM.PowerMgmt"}


def test_two_roles_on_one_path_add_up(access: Access) -> None:
    grant(access, "/vms", "audit")
    grant(access, "/vms", "power")
    assert access.privileges(USER, "/vms/100") == {"VM.Audit", "VM.PowerMgmt"}


def test_line_that_does_not_propagate_holds_on_its_path_only(access: Access) -> None:
    grant(access, "/vms", "audit", propagate=False)
    assert access.privileges(USER, "/vms") == {"VM.Audit"}
    assert access.privileges(USER, "/vms/100") == frozenset()


def test_no_access_beats_the_rest(access: Access) -> None:
    grant(access, "/vms/100", "audit")
    grant(access, "/vms/100", "NoAccess")
    assert access.privileges(USER, "/vms/100") == frozenset()


def test_own_lines_beat_those_of_groups(access: Access) -> None:
    access.groups["ops"] = ["u@pve"]
    grant(access, "/vms", "power", "ops", "group")
    assert access.privileges(USER, "/vms/100") == {"VM.PowerMgmt"}
    grant(access, "/vms", "audit")
    assert access.privileges(USER, "/vms/100") == {"VM.Audit"}


def test_pool_rights_add_up_with_the_paths_own(access: Access) -> None:
    grant(access, "/vms", "audit")
    grant(access, "/pool/k8s", "power")
    assert access.privileges(USER, "/vms/101") == {"VM.Audit", "VM.PowerMgmt"}
    assert access.privileges(USER, "/vms/102") == {"VM.Audit"}


def test_separated_token_holds_what_both_hold(access: Access) -> None:
    access.add_token("u@pve", "t", privsep=True)
    token = Identity("u@pve", "t")
    grant(access, "/vms", "audit")
    assert access.privileges(token, "/vms/100") == frozenset()
    grant(access, "/vms", "audit", "u@pve!t", "token")
    grant(access, "/vms", "power", "u@pve!t", "token")
    assert access.privileges(token, "/vms/100") == {"VM.Audit"}


def test_token_without_separation_is_its_user(access: Access) -> None:
    value = access.add_token("u@pve", "t", privsep=False)
    grant(access, "/vms", "audit")
    assert access.token_identity(f"u@pve!t={value}") == Identity("u@pve", "t")
    assert access.privileges(Identity("u@pve", "t"), "/vms/100") == {"VM.Audit"}
    assert access.token_identity("u@pve!t=wrong") is None
    access.users["u@pve"]["enable"] = 0
    assert access.token_identity(f"u@pve!t={value}") is None


def test_passwords(access: Access) -> None:
    assert access.password_matches("u@pve", "secret-1")
    assert not access.password_matches("u@pve", "secret-2")
    assert not access.password_matches("nobody@pve", "secret-1")
    access.set_password("u@pve", "secret-2")
    assert access.password_matches("u@pve", "secret-2")


def test_database_is_read_back(access: Access, tmp_path: Path) -> None:
    grant(access, "/vms", "audit")
    again = Access(Store(tmp_path), lambda _path: [])
    assert again.privileges(USER, "/vms/100") == {"VM.Audit"}
    assert again.password_matches("u@pve", "secret-1")


def test_removed_user_takes_tokens_and_lines_along(access: Access) -> None:
    access.add_token("u@pve", "t", privsep=True)
    grant(access, "/vms", "audit")
    grant(access, "/vms", "audit", "u@pve!t", "token")
    access.remove_user("u@pve")
    assert (access.tokens, access.rules) == ({}, [])


@pytest.mark.parametrize(
    ("role", "subject", "text"),
    [("none", "u@pve", "role 'none' does not exist"), ("audit", "x@pve", "user 'x@pve' does not exist")],
)
def test_lines_name_what_exists(access: Access, role: str, subject: str, text: str) -> None:
    with pytest.raises(ProxmoxError, match=text.replace("'", ".")):
        grant(access, "/", role, subject)


def test_roles_of_the_product_hold_known_privileges_and_no_more_than_an_administrator_of_vms() -> None:
    held = {name for privileges in SALTERN_ROLES.values() for name in privileges}
    assert held <= PRIVILEGES
    assert set(SALTERN_ROLES["SalternMachine"]) < BUILT_IN_ROLES["PVEVMAdmin"]
    assert set(SALTERN_ROLES["SalternDisk"] + SALTERN_ROLES["SalternSeed"]) == BUILT_IN_ROLES["PVEDatastoreAdmin"]


def test_refusal_names_path_and_privileges(access: Access) -> None:
    with pytest.raises(ApiError, match=r"Permission check failed \(/vms/100, VM.Audit\|VM.Clone\)"):
        access.require(USER, "/vms/100", "VM.Audit", "VM.Clone", any_of=True)


def test_the_products_user_has_what_the_guide_asks_for_and_no_more() -> None:
    """So what the driver does against the lab it may do on the Proxmox of whoever follows the guide."""
    guide = (CHECKOUT / "docs" / "production.md").read_text()
    (listed,) = re.findall(r'pveum role add \S+ -privs "([^"]+)"', guide)
    held = {name for privileges in SALTERN_ROLES.values() for name in privileges}
    assert set(listed.replace("\\", " ").split()) == held
