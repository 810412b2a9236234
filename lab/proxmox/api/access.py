"""``/access``: login, users, API tokens, roles, access list."""

from __future__ import annotations

import re
from typing import Any

from lab.proxmox.access import ROOT, Identity, Rule
from lab.proxmox.errors import ApiError, ProxmoxError
from lab.proxmox.privileges import BUILT_IN_ROLES, PRIVILEGES
from lab.proxmox.routing import Call, anyone, privilege, route
from lab.proxmox.schema import Boolean, Integer, Text, matching

_USERID = Text(
    required=True,
    rule=matching(r"[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+", "invalid format - value does not look like a valid user name"),
)
_ROLE = Text(required=True, rule=matching(r"[A-Za-z0-9.\-_]+", "invalid format - invalid characters in role name"))
_CAPABILITIES = {"access": ("User", "Group", "Permissions", "Realm"), "dc": ("Sys", "SDN"), "mapping": ("Mapping",),
                 "nodes": ("Sys",), "sdn": ("SDN",), "storage": ("Datastore",), "vms": ("VM",)}  # fmt: skip


@route("GET", "/access/ticket")
def ticket_form(_call: Call) -> None:
    """Answer nothing: the call is there for the login page only."""


@route(
    "POST",
    "/access/ticket",
    parameters={
        "username": Text(required=True),
        "password": Text(required=True),
        "realm": Text(),
        "otp": Text(),
        "path": Text(),
        "privs": Text(),
        "tfa-challenge": Text(),
        "new-format": Boolean(),
    },
)
def log_in(call: Call) -> dict[str, Any]:
    """Return a ticket for a password, or for a ticket that still lives."""
    user, password = str(call.args["username"]), str(call.args["password"])
    if "@" not in user:
        user = f"{user}@{call.args.get('realm', 'pam')}"
    centre = call.datacentre
    renews = centre.tickets.user_of(password) == user and centre.access.is_enabled(user)
    if not renews and not centre.access.password_matches(user, password):
        raise ApiError(401, "authentication failure")
    ticket, csrf_token = centre.tickets.issue(user)
    caps = _capabilities(call, Identity(user))
    return {"username": user, "ticket": ticket, "CSRFPreventionToken": csrf_token, "cap": caps,
            "clustername": centre.settings.cluster_name}  # fmt: skip


def _capabilities(call: Call, who: Identity) -> dict[str, dict[str, int]]:
    """Return the caller's privileges on the top paths, as the web interface wants them."""
    paths = {"access": "/access", "dc": "/", "mapping": "/mapping", "nodes": "/nodes", "sdn": "/sdn",
             "storage": "/storage", "vms": "/vms"}  # fmt: skip
    held = {part: call.datacentre.access.privileges(who, path) for part, path in paths.items()}
    return {
        part: {name: 1 for name in sorted(held[part]) if name.split(".")[0] in families}
        for part, families in _CAPABILITIES.items()
    }


@route("GET", "/access/domains")
def realms(_call: Call) -> list[dict[str, Any]]:
    """Return the realms that a user can log in to."""
    return [
        {"realm": "pam", "type": "pam", "comment": "Linux PAM standard authentication"},
        {"realm": "pve", "type": "pve", "comment": "Proxmox VE authentication server"},
    ]


@route("GET", "/access/permissions", parameters={"path": Text(), "userid": Text()})
def permissions(call: Call) -> dict[str, dict[str, int]]:
    """Return the caller's privileges (or those of another user or token) by path."""
    wanted = str(call.args.get("userid", call.who))
    if wanted != str(call.who):
        call.require("/access", "Sys.Audit")
    user, _, token = wanted.partition("!")
    rules = call.datacentre.access.rules
    paths = [call.args["path"]] if "path" in call.args else sorted({"/", *(rule.path for rule in rules)})
    held = {path: call.datacentre.access.privileges(Identity(user, token or None), path) for path in paths}
    return {path: dict.fromkeys(sorted(names), 1) for path, names in held.items() if names}


@route(
    "PUT",
    "/access/password",
    parameters={"userid": _USERID, "password": Text(required=True), "confirmation-password": Text()},
)
def change_password(call: Call) -> None:
    """Give a user a new password; one's own needs no privilege."""
    userid = str(call.args["userid"])
    if userid != call.who.user:
        call.require("/access/realm/" + userid.split("@")[1], "Realm.AllocateUser")
    if userid == ROOT and call.who.user != ROOT:
        raise ApiError(403, "Permission check failed")
    if userid not in call.datacentre.access.users:
        raise ProxmoxError(f"no such user ('{userid}')")
    call.datacentre.access.set_password(userid, str(call.args["password"]))


# -- users and tokens -------------------------------------------------------------------------------------------------


@route("GET", "/access/users", parameters={"enabled": Boolean(), "full": Boolean()})
def users(call: Call) -> list[dict[str, Any]]:
    """Return the users: all of them to an auditor, oneself to anybody."""
    everyone = call.may("/access/groups", "User.Modify") or call.may("/access", "Sys.Audit")
    return [
        {"userid": userid, "enable": row["enable"], "expire": row["expire"], "comment": row["comment"]}
        for userid, row in sorted(call.datacentre.access.users.items())
        if everyone or userid == call.who.user
    ]


@route(
    "POST",
    "/access/users",
    privilege("/access/groups", "User.Modify"),
    {
        "userid": _USERID,
        "enable": Boolean(),
        "expire": Integer(least=0),
        "comment": Text(default=""),
        **{name: Text() for name in ("password", "email", "firstname", "lastname", "groups", "keys")},
    },
)
def add_user(call: Call) -> None:
    """Add a user."""
    call.datacentre.access.add_user(call.args["userid"], call.args.get("password"), call.args["comment"])


@route("DELETE", "/access/users/{userid}", privilege("/access/groups", "User.Modify"))
def remove_user(call: Call) -> None:
    """Remove a user."""
    call.datacentre.access.remove_user(call.args["userid"])


def _own_or_modify(call: Call) -> None:
    """Need to be the user of the path, or to hold User.Modify."""
    if call.args["userid"] != call.who.user:
        call.require("/access/groups", "User.Modify")


@route("GET", "/access/users/{userid}/token", _own_or_modify)
def tokens(call: Call) -> list[dict[str, Any]]:
    """Return a user's API tokens."""
    prefix = f"{call.args['userid']}!"
    rows = sorted(call.datacentre.access.tokens.items())
    return [
        {"tokenid": name.removeprefix(prefix), "privsep": row["privsep"], "comment": row["comment"], "expire": 0}
        for name, row in rows
        if name.startswith(prefix)
    ]


@route(
    "POST",
    "/access/users/{userid}/token/{tokenid}",
    _own_or_modify,
    {"privsep": Boolean(default=True), "comment": Text(default=""), "expire": Integer(least=0)},
)
def add_token(call: Call) -> dict[str, Any]:
    """Add an API token; its secret is shown this once."""
    user, name = call.args["userid"], call.args["tokenid"]
    value = call.datacentre.access.add_token(user, name, call.args["privsep"], call.args["comment"])
    return {"value": value, "full-tokenid": f"{user}!{name}", "info": {"privsep": int(call.args["privsep"])}}


@route("DELETE", "/access/users/{userid}/token/{tokenid}", _own_or_modify)
def remove_token(call: Call) -> None:
    """Remove an API token."""
    call.datacentre.access.remove_token(call.args["userid"], call.args["tokenid"])


# -- roles and the access list ----------------------------------------------------------------------------------------


@route("GET", "/access/roles", anyone)
def roles(call: Call) -> list[dict[str, Any]]:
    """Return the roles with their privileges."""
    return [
        {"roleid": name, "privs": ",".join(sorted(privileges)), "special": int(name in BUILT_IN_ROLES)}
        for name, privileges in sorted(call.datacentre.access.all_roles().items())
    ]


@route("GET", "/access/roles/{roleid}", anyone)
def role(call: Call) -> dict[str, int]:
    """Return the privileges of one role."""
    known = call.datacentre.access.all_roles()
    name = call.args["roleid"]
    if name not in known:
        raise ProxmoxError(f"role '{name}' does not exist")
    return dict.fromkeys(sorted(known[name] & PRIVILEGES), 1)


@route("POST", "/access/roles", privilege("/access", "Sys.Modify"), {"roleid": _ROLE, "privs": Text(default="")})
def add_role(call: Call) -> None:
    """Add a role."""
    call.datacentre.access.set_role(call.args["roleid"], _words(call.args["privs"]), new=True)


@route(
    "PUT",
    "/access/roles/{roleid}",
    privilege("/access", "Sys.Modify"),
    {"privs": Text(default=""), "append": Boolean()},
)
def change_role(call: Call) -> None:
    """Give a role other (or with ``append`` further) privileges."""
    old = call.datacentre.access.roles.get(call.args["roleid"], []) if call.args.get("append") else []
    call.datacentre.access.set_role(call.args["roleid"], [*old, *_words(call.args["privs"])], new=False)


@route("DELETE", "/access/roles/{roleid}", privilege("/access", "Sys.Modify"))
def remove_role(call: Call) -> None:
    """Remove a role."""
    call.datacentre.access.remove_role(call.args["roleid"])


@route("GET", "/access/acl")
def access_list(call: Call) -> list[dict[str, Any]]:
    """Return the access list: the lines that the caller may see."""
    return [
        {
            "path": rule.path,
            "type": rule.kind,
            "ugid": rule.subject,
            "roleid": rule.role,
            "propagate": int(rule.propagate),
        }
        for rule in call.datacentre.access.rules
        if call.may(rule.path, "Permissions.Modify", "Sys.Audit", any_of=True)
    ]


def _may_modify(call: Call) -> None:
    """Need Permissions.Modify on the path in the parameters."""
    call.require(str(call.args.get("path", "/")), "Permissions.Modify")


@route(
    "PUT",
    "/access/acl",
    _may_modify,
    {"path": Text(required=True), "roles": Text(required=True), "users": Text(), "tokens": Text(), "groups": Text(),
     "propagate": Boolean(default=True), "delete": Boolean(default=False)},
)  # fmt: skip
def change_access_list(call: Call) -> None:
    """Add lines to the access list, or remove them."""
    args = call.args
    for kind in ("user", "token", "group"):
        for subject in _words(args.get(f"{kind}s", "")):
            for name in _words(args["roles"]):
                rule = Rule(args["path"], kind, subject, name, args["propagate"])
                call.datacentre.access.change_rule(rule, args["delete"])


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[,;\s]+", text) if word]
