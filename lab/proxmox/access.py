"""Users, API tokens, roles and access lists: who may do what on which path."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lab.proxmox.errors import ProxmoxError, forbidden, invalid
from lab.proxmox.privileges import BUILT_IN_ROLES, PRIVILEGES
from lab.proxmox.store import Store

ROOT = "root@pam"

# Cheap enough for a lab that logs in often; the file it protects is readable by root only.
_SCRYPT = {"n": 2**12, "r": 8, "p": 1}


@dataclass(frozen=True)
class Identity:
    """Who a call is made by: a user, or one of a user's API tokens.

    Attributes:
        user: ``saltern@pve``.
        token: ``salt`` of ``saltern@pve!salt``, or None.
    """

    user: str
    token: str | None = None

    def __str__(self) -> str:
        return self.user if self.token is None else f"{self.user}!{self.token}"

    def owns(self, task_user: str) -> bool:
        """Say whether a task is one's own: a user has those of all its tokens too, a token only what it started."""
        return task_user == str(self) or (self.token is None and task_user.partition("!")[0] == self.user)


@dataclass(frozen=True)
class Rule:
    """One line of the access list: ``kind`` is user, token or group."""

    path: str
    kind: str
    subject: str
    role: str
    propagate: bool


class Access:
    """The user database: kept in the record ``access``, changed only through the methods here.

    Args:
        store: where the record lives.
        pools_of: answers which pools a path (``/vms/100``) belongs to; their rights add up with the path's own.
    """

    def __init__(self, store: Store, pools_of: Callable[[str], list[str]]) -> None:
        self._store = store
        self._pools_of = pools_of
        self._guard = threading.RLock()
        record = store.load("access") or {}
        self.users: dict[str, dict[str, Any]] = record.get("users", {})
        self.tokens: dict[str, dict[str, Any]] = record.get("tokens", {})
        self.groups: dict[str, list[str]] = record.get("groups", {})
        self.roles: dict[str, list[str]] = record.get("roles", {})
        self.rules: list[Rule] = [Rule(**row) for row in record.get("rules", [])]

    def _save(self) -> None:
        self._store.save(
            "access",
            {
                "users": self.users,
                "tokens": self.tokens,
                "groups": self.groups,
                "roles": self.roles,
                "rules": [vars(rule) for rule in self.rules],
            },
        )

    # -- users and tokens ---------------------------------------------------------------------------------------------

    def add_user(self, userid: str, password: str | None = None, comment: str = "") -> None:
        """Add the user ``name@realm``; raises ProxmoxError when it exists."""
        with self._guard:
            if userid in self.users:
                raise ProxmoxError(f"create user failed: user '{userid}' already exists")
            self.users[userid] = {"enable": 1, "expire": 0, "comment": comment, "password": None}
            if password is not None:
                self.users[userid]["password"] = hash_password(password)
            self._save()

    def set_password(self, userid: str, password: str) -> None:
        """Give a user a new password, unless it is the one that it has."""
        with self._guard:
            if not self.password_matches(userid, password):
                self.users[userid]["password"] = hash_password(password)
                self._save()

    def remove_user(self, userid: str) -> None:
        """Remove a user with its tokens and its lines of the access list."""
        with self._guard:
            if self.users.pop(userid, None) is None:
                raise ProxmoxError(f"delete user failed: no such user ('{userid}')")
            self.tokens = {name: row for name, row in self.tokens.items() if not name.startswith(f"{userid}!")}
            self.rules = [rule for rule in self.rules if rule.subject.split("!")[0] != userid]
            self._save()

    def password_matches(self, userid: str, password: str) -> bool:
        """Say whether an enabled user has this password."""
        row = self.users.get(userid)
        if row is None or not row["enable"] or not row["password"]:
            return False
        salt, wanted = (base64.b64decode(part) for part in row["password"].split("$"))
        return hmac.compare_digest(hashlib.scrypt(password.encode(), salt=salt, **_SCRYPT), wanted)

    def add_token(self, userid: str, name: str, privsep: bool, comment: str = "", value: str | None = None) -> str:
        """Add an API token and return its secret, which is not kept (only its sum)."""
        with self._guard:
            if userid not in self.users:
                raise ProxmoxError(f"no such user ('{userid}')")
            if f"{userid}!{name}" in self.tokens:
                raise invalid(tokenid="Token already exists.")
            value = value or str(uuid.uuid4())
            self.tokens[f"{userid}!{name}"] = {"privsep": int(privsep), "comment": comment, "sha256": _sum(value)}
            self._save()
            return value

    def remove_token(self, userid: str, name: str) -> None:
        """Remove an API token with its lines of the access list."""
        with self._guard:
            if self.tokens.pop(f"{userid}!{name}", None) is None:
                raise ProxmoxError(f"no such token '{name}' for user '{userid}'")
            self.rules = [rule for rule in self.rules if rule.subject != f"{userid}!{name}"]
            self._save()

    def token_identity(self, text: str) -> Identity | None:
        """Return who ``user@realm!name=secret`` is, or None when that is nobody."""
        full_name, _, value = text.partition("=")
        user, _, name = full_name.partition("!")
        row = self.tokens.get(full_name)
        known = row is not None and self.is_enabled(user) and hmac.compare_digest(row["sha256"], _sum(value))
        return Identity(user, name) if known else None

    def is_enabled(self, userid: str) -> bool:
        """Say whether a user exists and may log in."""
        return bool(self.users.get(userid, {}).get("enable"))

    # -- roles and the access list ------------------------------------------------------------------------------------

    def set_role(self, name: str, privileges: list[str], new: bool) -> None:
        """Add a role, or give an existing one other privileges.

        Raises:
            ApiError: reserved name or unknown privilege. ProxmoxError: exists, or does not.
        """
        with self._guard:
            if name.startswith("PVE"):
                raise invalid(roleid="cannot use role ID starting with the (case-insensitive) 'PVE' namespace")
            for privilege in privileges:
                if privilege not in PRIVILEGES:
                    raise invalid(privs=f"invalid privilege '{privilege}'")
            if new and name in self.all_roles():
                raise ProxmoxError(f"role '{name}' already exists")
            if not new and name not in self.roles:
                raise ProxmoxError(f"role '{name}' does not exist")
            self.roles[name] = sorted(set(privileges))
            self._save()

    def remove_role(self, name: str) -> None:
        """Remove one of the roles that are not built in."""
        with self._guard:
            if self.roles.pop(name, None) is None:
                raise ProxmoxError(f"role '{name}' does not exist")
            self.rules = [rule for rule in self.rules if rule.role != name]
            self._save()

    def all_roles(self) -> dict[str, frozenset[str]]:
        """Return every role with its privileges."""
        return BUILT_IN_ROLES | {name: frozenset(names) for name, names in self.roles.items()}

    def change_rule(self, rule: Rule, delete: bool) -> None:
        """Add a line to the access list, or remove it; names must exist (ProxmoxError)."""
        with self._guard:
            known = {"user": list(self.users), "token": list(self.tokens), "group": list(self.groups)}[rule.kind]
            if rule.role not in self.all_roles():
                raise ProxmoxError(f"role '{rule.role}' does not exist")
            if rule.subject not in known:
                raise ProxmoxError(f"{rule.kind} '{rule.subject}' does not exist")
            same = (rule.path, rule.kind, rule.subject, rule.role)
            self.rules = [old for old in self.rules if (old.path, old.kind, old.subject, old.role) != same]
            if not delete:
                self.rules.append(rule)
            self._save()

    def remove_path(self, path: str) -> None:
        """Remove the lines of the access list for a path that is gone."""
        with self._guard:
            self.rules = [rule for rule in self.rules if rule.path != path]
            self._save()

    # -- answers ------------------------------------------------------------------------------------------------------

    def privileges(self, who: Identity, path: str) -> frozenset[str]:
        """Return what an identity may do on a path such as ``/vms/100``."""
        own = self._subject_privileges("user", who.user, path)
        if who.token is None:
            return own
        row = self.tokens.get(str(who), {"privsep": 1})
        return own & self._subject_privileges("token", str(who), path) if row["privsep"] else own

    def _subject_privileges(self, kind: str, subject: str, path: str) -> frozenset[str]:
        if subject == ROOT:
            return PRIVILEGES
        paths = [path, *(f"/pool/{pool}" for pool in self._pools_of(path))]
        names = {role for each in paths for role in self._roles_on(kind, subject, each)}
        known = self.all_roles()
        return frozenset(privilege for name in names if name in known for privilege in known[name])

    def _roles_on(self, kind: str, subject: str, path: str) -> set[str]:
        """Walk from ``/`` down: the nearer line replaces what comes from above, a user's own beats its groups'."""
        with self._guard:
            rules = list(self.rules)
        groups = {name for name, members in self.groups.items() if subject in members}
        found: set[str] = set()
        for prefix in _prefixes(path):
            here = [rule for rule in rules if rule.path == prefix and (rule.propagate or prefix == path)]
            own = {rule.role for rule in here if rule.kind == kind and rule.subject == subject}
            of_groups = {rule.role for rule in here if rule.kind == "group" and rule.subject in groups}
            found = own or of_groups or found
        return set() if "NoAccess" in found else found

    def allows(self, who: Identity, path: str, *privileges: str, any_of: bool = False) -> bool:
        """Say whether an identity has all (or any) of the privileges on a path."""
        held = self.privileges(who, path)
        return any(name in held for name in privileges) if any_of else all(name in held for name in privileges)

    def require(self, who: Identity, path: str, *privileges: str, any_of: bool = False) -> None:
        """Raise the 403 that names path and privileges unless :meth:`allows`."""
        if not self.allows(who, path, *privileges, any_of=any_of):
            raise forbidden(path, privileges)


def _prefixes(path: str) -> list[str]:
    """Return the path and all above it, from the top: ``/vms/100`` -> ``["/", "/vms", "/vms/100"]``."""
    parts = [part for part in path.split("/") if part]
    return ["/", *("/" + "/".join(parts[: count + 1]) for count in range(len(parts)))]


def hash_password(password: str) -> str:
    """Return ``salt$sum``, both base64."""
    salt = secrets.token_bytes(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, **_SCRYPT)
    return "$".join(base64.b64encode(part).decode() for part in (salt, digest))


def _sum(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
