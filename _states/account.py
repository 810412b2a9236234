"""The operator's account."""

from salt.exceptions import CommandExecutionError


def present(name, user, group, home, shell="/bin/bash"):
    """The user exists with this primary group, home and shell; other groups of it stay.

    name: sentence for the log. An account that is made anew gets the numbers that own its home, if the home is there.
    Changes: ``{"group" | "user" | "primary_group" | "home" | "shell": {"old", "new"}}``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{user} is there"}
    wanted = {"group": group, "user": user, "primary_group": group, "home": home, "shell": shell}
    try:
        before = __salt__["account.facts"](user, group)
        plan = _difference(before, wanted)
        if not plan:
            return ret
        if __opts__["test"]:
            __salt__["account.foresee"](user, group, home)
            return ret | {"result": None, "changes": plan, "comment": f"{user}: would change {', '.join(plan)}"}
        __salt__["account.settle"](user, group, home, shell)
        after = __salt__["account.facts"](user, group)
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": str(err)}
    left = _difference(after, wanted)
    comment = f"{user}: still different in {', '.join(left)}" if left else f"{user}: changed {', '.join(plan)}"
    return ret | {"result": not left, "changes": _difference(before, after), "comment": comment}


def _difference(before, after):
    """{what: {"old", "new"}} of what differs."""
    return {key: {"old": before[key], "new": after[key]} for key in after if before[key] != after[key]}
