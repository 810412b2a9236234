"""The names of the cluster's nodes in /etc/hosts, or none of them."""

from salt.exceptions import CommandExecutionError


def present(name, entries, hosts="/etc/hosts"):
    """The block of Saltern has exactly these entries; every other line stays.

    name: sentence for the log; entries: ``{address: [names]}``; hosts: the file. Changes: ``{"block": {"old": [...],
    "new": [...]}}``.
    """
    return _settle(name, __salt__["hosts_file.lines"](entries), hosts)


def absent(name, hosts="/etc/hosts"):
    """There is no block of Saltern; every other line stays."""
    return _settle(name, None, hosts)


def _settle(name, wanted, hosts):
    """Bring the block about."""
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{len(wanted or [])} lines as wanted"}
    try:
        before = __salt__["hosts_file.block"](hosts)
        if before == wanted:
            return ret
        ret["changes"] = {"block": {"old": before, "new": wanted}}
        if __opts__["test"]:
            return ret | {"result": None, "comment": f"would change the block in {hosts}"}
        __salt__["hosts_file.write"](wanted, hosts)
        after = __salt__["hosts_file.block"](hosts)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "changes": {}, "comment": f"{hosts}: {err}"}
    return ret | {"result": after == wanted, "comment": f"block in {hosts} changed"}
