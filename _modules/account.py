"""The operator's account, and the names of owners.

In test mode an account that is missing counts as there again once its state has said that it would make it: what it
owns then needs no new owner.
"""

import grp
import pwd
from pathlib import Path

from salt.exceptions import CommandExecutionError

FORESEEN = "saltern.accounts"


def facts(user, group):
    """What there is of an account: ``{"group", "user", "primary_group", "home", "shell"}``, ``None`` for what is not.

    CLI Example:

    .. code-block:: bash

        salt '*' account.facts k8s k8s
    """
    found = __salt__["user.info"](user)
    return {
        "group": group if __salt__["group.info"](group) else None,
        "user": user if found else None,
        "primary_group": __salt__["account.group_name"](found["gid"]) if found else None,
        "home": found["home"] if found else None,
        "shell": found["shell"] if found else None,
    }


def settle(user, group, home, shell):
    """Make an account, or give it its group, home and shell.

    One that is made anew gets the numbers of the home that is there, if nobody has them: then what it owned is its own
    again.

    CLI Example:

    .. code-block:: bash

        salt '*' account.settle k8s k8s /home/k8s /bin/bash
    """
    uid, gid = left_behind(home)
    if not __salt__["group.info"](group):
        _done(__salt__["group.add"](group, gid=gid), f"group {group} could not be made")
    number = __salt__["group.info"](group)["gid"]
    found = __salt__["user.info"](user)
    if not found:
        made = __salt__["user.add"](user, uid=uid, gid=number, home=home, shell=shell, createhome=True)
        _done(made, f"user {user} could not be made")
        return
    for verb, is_so, argument in (
        ("user.chgid", found["gid"] == number, number),
        ("user.chhome", found["home"] == home, home),
        ("user.chshell", found["shell"] == shell, shell),
    ):
        _done(is_so or __salt__[verb](user, argument), f"{verb} {user} {argument} failed")


def left_behind(home):
    """The numbers of the owner of a home that have no account any more: ``(uid, gid)``, ``None`` for each that has.

    CLI Example:

    .. code-block:: bash

        salt '*' account.left_behind /home/k8s
    """
    try:
        found = Path(home).stat()
    except FileNotFoundError:
        return None, None
    user, group = __salt__["account.user_name"](found.st_uid), __salt__["account.group_name"](found.st_gid)
    return (found.st_uid if user == str(found.st_uid) else None, found.st_gid if group == str(found.st_gid) else None)


def foresee(user, group, home):
    """For the rest of this run in test mode: the account is made with the numbers that its home has.

    CLI Example:

    .. code-block:: bash

        salt '*' account.foresee k8s k8s /home/k8s
    """
    uid, gid = left_behind(home)
    __context__[FORESEEN] = {"users": {uid: user}, "groups": {gid: group}}


def user_name(uid):
    """The name of a user; its number as text when no account has it.

    CLI Example:

    .. code-block:: bash

        salt '*' account.user_name 0
    """
    return _name(pwd.getpwuid, "users", uid)


def group_name(gid):
    """The name of a group; its number as text when none has it.

    CLI Example:

    .. code-block:: bash

        salt '*' account.group_name 0
    """
    return _name(grp.getgrgid, "groups", gid)


def _name(database, kind, number):
    """A name from the system's database, or from what is foreseen."""
    try:
        return database(number)[0]
    except KeyError:
        return __context__.get(FORESEEN, {}).get(kind, {}).get(number, str(number))


def _done(success, failure):
    """Salt's user and group functions tell by their result; why is in the minion's log."""
    if not success:
        raise CommandExecutionError(f"{failure}: see the minion's log (journalctl -u salt-minion)")
