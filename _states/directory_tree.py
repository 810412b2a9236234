"""Directory trees that are there, or gone as far as they are empty."""

from salt.exceptions import CommandExecutionError


def present(name, directories):
    """Every directory is there with its owner and mode.

    name: sentence for the log; directories: ``[{"path", "user", "group", "mode"}]``, parents first.
    Changes: ``{path: {"old": {"user", "group", "mode"} | None, "new": {...}}}``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{len(directories)} directories as wanted"}
    wanted = {item["path"]: {key: item[key] for key in ("user", "group", "mode")} for item in directories}
    try:
        before = __salt__["directory_tree.facts"](list(wanted))
        plan = _difference(before, wanted)
        if not plan:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"would make or change {len(plan)} directories"}
        for path in plan:
            __salt__["directory_tree.make"](path, **wanted[path])
        after = __salt__["directory_tree.facts"](list(wanted))
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": str(err)}
    ret["changes"] = _difference(before, after)
    left = _difference(after, wanted)
    if left:
        return ret | {"result": False, "comment": f"still different: {left}"}
    return ret | {"comment": f"{len(plan)} directories made or changed"}


def absent_if_empty(name, directories):
    """Every directory that holds nothing is gone.

    What holds something stays, and the comment names it: nobody's data is removed here.
    directories: as in :func:`present`. Changes: ``{path: {"old": "empty", "new": None}}``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "none of them is there"}
    paths = [item["path"] for item in directories]
    try:
        there = [path for path, facts in __salt__["directory_tree.facts"](paths).items() if facts]
        if __opts__["test"]:
            empty = __salt__["directory_tree.empty"](paths)
            changes = {path: {"old": "empty", "new": None} for path in empty}
            comment = f"would remove {', '.join(empty) or 'none'}"
            return ret | ({"result": None, "changes": changes, "comment": comment} if empty else {})
        removed = __salt__["directory_tree.remove_empty"](paths)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": str(err)}
    ret["changes"] = {path: {"old": "empty", "new": None} for path in removed}
    stay = [path for path in there if path not in removed]
    if stay:
        ret["comment"] = f"not empty, so they stay: {', '.join(stay)}"
    elif removed:
        ret["comment"] = f"removed {len(removed)} empty directories"
    return ret


def _difference(before, after):
    """{path: {"old", "new"}} of what differs."""
    return {path: {"old": before[path], "new": after[path]} for path in after if before[path] != after[path]}
