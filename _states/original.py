"""What stood on a node before in the place of files of ours: kept before the first change, given back by ``clean``."""

from salt.exceptions import CommandExecutionError


def kept(name, paths, backups):
    """What is at these paths is kept, once, before anything of ours takes its place.

    name: sentence for the log; paths: list of files; backups: directories, the last one durable.
    A file that Salt wrote here is none of before. Changes: ``{path: {"old": "not kept", "new": "kept" | "none
    there"}}``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "kept, or none was there"}
    try:
        new = [path for path in paths if not __salt__["original.kept"](path, backups)]
        there = {path: __salt__["original.foreign"](path) for path in new}
        ret["changes"] = {path: {"old": "not kept", "new": "kept"} for path in new if there[path]}
        if __opts__["test"] and ret["changes"]:
            return ret | {"result": None, "comment": f"would keep {', '.join(ret['changes'])}"}
        for path in new if not __opts__["test"] else []:
            __salt__["original.keep"](path, backups)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | ({"comment": f"kept {', '.join(ret['changes'])}"} if ret["changes"] else {})


def put_aside(name, path, backups):
    """Nothing is at this path; what was there is kept.

    Changes: ``{path: {"old": "there", "new": None}}``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{path}: not there"}
    try:
        if not __salt__["original.foreign"](path):
            return ret
        ret["changes"] = {path: {"old": "there", "new": None}}
        if __opts__["test"]:
            return ret | {"result": None, "comment": f"{path}: would be put aside"}
        where = __salt__["original.put_aside"](path, backups)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": f"{path}: put aside ({where})"}


def given_back(name, paths, backups):
    """These paths are as they were before :func:`kept` or :func:`put_aside`: their files back, or none there.

    A file that Salt wrote and of which nothing was kept is removed; any other is left alone.
    Changes: ``{path: {"old": "ours" | None, "new": "as before" | None}}``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "as before"}
    try:
        plan = {path: change for path in paths if (change := __salt__["original.way_back"](path, backups))}
        if __opts__["test"] and plan:
            return ret | {"result": None, "changes": plan, "comment": f"would give back {', '.join(plan)}"}
        for path in paths if not __opts__["test"] else []:
            __salt__["original.give_back"](path, backups)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": str(err)}
    return ret | ({"changes": plan, "comment": f"given back {', '.join(plan)}"} if plan else {})
