"""The names of the cluster's nodes in /etc/hosts, or none of them."""

from salt.exceptions import CommandExecutionError


def present(name, entries, hosts="/etc/hosts"):
    """The block of Saltern has exactly these entries; every other line stays.

    name: sentence for the log; entries: ``{address: [names]}``; hosts: the file, which everybody can read and root
    write. Changes: ``{"block": {"old": [...], "new": [...]}, "user" | "group" | "mode": {"old", "new"}}``.
    """
    return _settle(name, __salt__["hosts_file.lines"](entries), hosts, __salt__["config_file.attributes"]())


def absent(name, hosts="/etc/hosts"):
    """There is no block of Saltern; every other line stays."""
    return _settle(name, None, hosts, {})


def _settle(name, wanted, hosts, attributes):
    """Bring the block and the file's owner and mode about."""
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{len(wanted or [])} lines as wanted"}
    try:
        goal = {"block": wanted, **attributes}
        before = _facts(hosts)
        plan = __salt__["config_file.difference"](before, goal)
        if not plan:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"would change {', '.join(plan)} of {hosts}"}
        if "block" in plan:
            __salt__["hosts_file.write"](wanted, hosts)
        if attributes:
            __salt__["config_file.own"](hosts, **attributes)
        after = _facts(hosts)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": f"{hosts}: {err}"}
    left = __salt__["config_file.difference"](after, goal)
    ret["changes"] = {key: {"old": change["old"], "new": after.get(key)} for key, change in plan.items()}
    return ret | {"result": not left, "comment": f"{', '.join(plan)} of {hosts} changed"}


def _facts(hosts):
    """The block, and whose the file is."""
    return {"block": __salt__["hosts_file.block"](hosts), **__salt__["config_file.ownership"](hosts)}
