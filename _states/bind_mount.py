"""Bind mounts that are in fstab and mounted, or neither."""

from pathlib import Path

from salt.exceptions import CommandExecutionError

# The topic under which the paths that mounting made are noted (original.note).
MOUNT_POINTS = "mount points"


def mounted(name, mounts, backups, fstab="/etc/fstab"):
    """Every path shows its source, now and after every boot.

    name: sentence for the log; mounts: ``[{"source", "path"}]``; backups: directories for the original fstab; fstab:
    the file.
    A path that holds files of its own, or is another mount, is refused: mounting over it would hide what is there.
    Changes: ``{path: {"fstab": {"old", "new"}, "mounted": {"old", "new"}}}``, and ``{fstab: {"user" | "group" | "mode":
    {"old", "new"}}}``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{len(mounts)} bind mounts as wanted"}
    try:
        before = {item["path"]: _facts(item, fstab) for item in mounts}
        plan = {item["path"]: change for item in mounts if (change := _difference(before[item["path"]], _wanted(item)))}
        attributes = __salt__["config_file.attributes"]()
        owner = __salt__["config_file.ownership"](fstab)
        plan |= _as_change(fstab, __salt__["config_file.difference"](owner, attributes))
        failures = {item["path"]: refusal for item in mounts if (refusal := _refusal(item, before[item["path"]]))}
        if __opts__["test"]:
            return ret | _would_mount(plan, failures)
        for item in mounts:
            if item["path"] in plan and item["path"] not in failures:
                failures |= _mount(item, plan[item["path"]], backups, fstab)
        if fstab in plan:
            __salt__["config_file.own"](fstab, **attributes)
        after = {item["path"]: _facts(item, fstab) for item in mounts}
        owned = _as_change(fstab, __salt__["config_file.difference"](owner, __salt__["config_file.ownership"](fstab)))
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": str(err)}
    ret["changes"] = {path: change for path in after if (change := _difference(before[path], after[path]))} | owned
    if failures:
        return ret | {"result": False, "comment": "\n".join(failures.values())}
    return ret | ({"comment": f"mounted {', '.join(plan)}"} if plan else {})


def unmounted(name, mounts, backups, fstab="/etc/fstab"):
    """No path is mounted from its source and fstab has no line of ours for it. What lies in the sources stays.

    Mount points that :func:`mounted` made go too, unless something is in them by now.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "none of them mounted"}
    try:
        before = {item["path"]: _facts(item, fstab) for item in mounts}
        gone = {"fstab": None, "mounted": None}
        plan = {
            item["path"]: _difference(before[item["path"]], gone)
            for item in mounts
            if _ours(item, before[item["path"]])
        }
        if not plan:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"would unmount {', '.join(plan)}"}
        failures = [
            error for item in mounts if item["path"] in plan for error in _unmount(item, before[item["path"]], fstab)
        ]
        if not failures:
            made = __salt__["original.unnote"](MOUNT_POINTS, backups)
            __salt__["directory_tree.remove_empty"]([item["path"] for item in mounts if item["path"] in made])
        after = {item["path"]: _facts(item, fstab) for item in mounts}
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": str(err)}
    ret["changes"] = {path: change for path in plan if (change := _difference(before[path], after[path]))}
    return ret | {"result": not failures, "comment": "; ".join(failures) or f"unmounted {', '.join(plan)}"}


def _as_change(path, difference):
    """{path: difference}, {} without one."""
    return {path: difference} if difference else {}


def _facts(item, fstab):
    """What holds for one mount."""
    return {
        "fstab": __salt__["bind_mount.in_fstab"](item["path"], fstab),
        "mounted": __salt__["bind_mount.mounted"](item["source"], item["path"]),
    }


def _wanted(item):
    """What should hold for it."""
    return {"fstab": __salt__["bind_mount.line"](item["source"], item["path"]), "mounted": "source"}


def _ours(item, facts):
    """Whether any of it is ours."""
    return facts["fstab"] == _wanted(item)["fstab"] or facts["mounted"] == "source"


def _difference(before, after):
    """{fact: {"old", "new"}} of what differs."""
    return {key: {"old": before[key], "new": after[key]} for key in after if before[key] != after[key]}


def _refusal(item, facts):
    """Why a path may not be mounted over, or None."""
    path = item["path"]
    if facts["mounted"] == "other":
        return f"{path}: something else is mounted there; umount {path}, then apply again"
    hidden = __salt__["bind_mount.entries"](path) if facts["mounted"] is None else []
    if hidden:
        return (
            f"{path} holds {', '.join(hidden[:5])}{' ...' if len(hidden) > 5 else ''}, "
            f"which the bind mount of {item['source']} would hide: "
            f"is this node part of another cluster? Move {path} away if it is not needed, then apply again"
        )
    return None


def _mount(item, plan, backups, fstab):
    """Bring one mount about. Returns {path: error} or {}."""
    try:
        if "fstab" in plan:
            __salt__["original.keep"](fstab, backups)
            __salt__["bind_mount.enter"](item["source"], item["path"], fstab)
        if "mounted" in plan:
            if not Path(item["path"]).exists():
                __salt__["original.note"](MOUNT_POINTS, {item["path"]: "made by Saltern"}, backups)
            __salt__["bind_mount.mount"](item["source"], item["path"])
    except CommandExecutionError as err:
        return {item["path"]: str(err)}
    return {}


def _unmount(item, facts, fstab):
    """Undo one mount. Returns its errors."""
    try:
        if facts["mounted"] == "source":
            __salt__["bind_mount.unmount"](item["path"])
        if facts["fstab"] == _wanted(item)["fstab"]:
            __salt__["bind_mount.strike"](item["path"], fstab)
    except CommandExecutionError as err:
        return [str(err)]
    return []


def _would_mount(plan, failures):
    """What test mode says; a refusal is one in test mode too."""
    if failures:
        return {"result": False, "changes": {}, "comment": "\n".join(failures.values())}
    return {"result": None, "changes": plan, "comment": f"would mount {', '.join(plan)}"} if plan else {}
