"""Text files that say what they should and belong to whom they should."""

from salt.exceptions import CommandExecutionError


def managed(name, text, user="root", group="root", mode="0644", restarts=()):
    """A file has this content, owner and mode.

    name: its path; text: its content; user, group, mode: whose it is.
    restarts: units that read it only at their start; a later ``unit.running`` of theirs restarts them when the content
    has changed (an owner or a mode alone is no reason).
    Changes: ``{"content" | "user" | "group" | "mode": {"old", "new"}}``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name}: as wanted"}
    try:
        wanted = __salt__["config_file.wanted"](text, user, group, mode)
        before = __salt__["config_file.facts"](name)
        plan = __salt__["config_file.difference"](before, wanted)
        if not plan:
            return ret
        if "content" in plan:
            # Noted before the write: a run that is killed in between leaves no unit with a configuration of before.
            __salt__["unit_restart.note"](restarts, f"{name} changed", test=__opts__["test"])
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"{name}: would change {', '.join(plan)}"}
        __salt__["config_file.settle"](name, wanted)
        after = __salt__["config_file.facts"](name)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": f"{name}: {err}"}
    ret["changes"] = __salt__["config_file.difference"](before, after)
    left = __salt__["config_file.difference"](after, wanted)
    if left:
        return ret | {"result": False, "comment": f"{name}: still different in {', '.join(left)}"}
    return ret | {"comment": f"{name}: changed {', '.join(plan)}"}


def kept(name, copy, restarts=()):
    """A file that was handed over once, and is in no pillar, says what its copy says; without a copy it is left alone.

    name: its path; copy: path of the copy that was written with it; restarts: as for :func:`managed`.
    Changes: as for :func:`managed`.
    """
    try:
        text = __salt__["config_file.facts"](copy).get("content")
    except (CommandExecutionError, OSError) as err:
        return {"name": name, "result": False, "changes": {}, "comment": f"{name}: {err}"}
    if text is None:
        return {"name": name, "result": True, "changes": {}, "comment": f"{name}: not handed over yet"}
    return managed(name, text, restarts=restarts)
