"""Symbolic links that lead where they should, or are gone."""

from pathlib import Path

from salt.exceptions import CommandExecutionError

NO_LINK = "(no link)"


def present(name, links, backups):
    """Every link leads to its target.

    name: sentence for the log; links: ``[{"path", "target"}]``; backups: directories for a file that stood in a
    link's place.
    Changes: ``{path: {"old": target | None | "(no link)", "new": target}}``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{len(links)} links as wanted"}
    wanted = {item["path"]: item["target"] for item in links}
    try:
        before = __salt__["link_farm.targets"](list(wanted))
        plan = _difference(before, wanted)
        if not plan:
            return ret
        directories = [path for path in plan if before[path] == NO_LINK and Path(path).is_dir()]
        if directories:
            return ret | {
                "result": False,
                "comment": f"a directory is in a link's place: move away {', '.join(directories)}",
            }
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"would link {', '.join(plan)}"}
        for path, change in plan.items():
            if change["old"] == NO_LINK:
                __salt__["original.keep"](path, backups)
            __salt__["link_farm.point"](path, change["new"])
        after = __salt__["link_farm.targets"](list(wanted))
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": str(err)}
    return ret | {"changes": _difference(before, after), "comment": f"linked {', '.join(plan)}"}


def absent(name, links, backups):
    """No link leads to its target; a file that stood in its place is back. Links to elsewhere are left alone."""
    ret = {"name": name, "result": True, "changes": {}, "comment": "none of them is there"}
    try:
        before = __salt__["link_farm.targets"]([item["path"] for item in links])
        ours = [item["path"] for item in links if before[item["path"]] == item["target"]]
        if not ours:
            return ret
        ret["changes"] = {path: {"old": before[path], "new": None} for path in ours}
        if __opts__["test"]:
            return ret | {"result": None, "comment": f"would remove {', '.join(ours)}"}
        for path in ours:
            __salt__["link_farm.remove"](path)
            __salt__["original.restore"](path, backups)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": f"removed {', '.join(ours)}"}


def _difference(before, after):
    """{path: {"old", "new"}} of what differs."""
    return {path: {"old": before[path], "new": after[path]} for path in after if before[path] != after[path]}
