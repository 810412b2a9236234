"""Swap off, now and after every reboot; and given back."""

from salt.exceptions import CommandExecutionError


def disabled(name, backups, fstab="/etc/fstab"):
    """No swap is in use, no line of fstab and no systemd unit brings it back.

    name: sentence for the log; backups: directories for the original fstab, the last one durable; fstab: the file.
    In a system container active swap is the host's: it is named, neither touched nor failed (the kubelet then wants
    ``failSwapOn: false``).
    Changes: ``{"in use" | "fstab" | "units": {"old": [...], "new": [...]}}``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "no swap"}
    try:
        before = _facts(fstab)
        host, container = _hosts_areas(before)
        plan = _plan(before, host)
        if host:
            ret["comment"] = f"swap of the {container} host stays in use: {', '.join(host)}"
        if not plan:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": "would turn swap off"}
        failures = _disable(before, host, fstab, backups)
        after = _facts(fstab)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": str(err)}
    ret["changes"] = {key: {"old": before[key], "new": after[key]} for key in before if before[key] != after[key]}
    left = _plan(after, host)
    if failures or left:
        return ret | {"result": False, "comment": "; ".join(failures) or f"still there: {left}"}
    return ret | {"comment": "swap turned off"}


def enabled(name, backups, fstab="/etc/fstab"):
    """What :func:`disabled` took away is back: its commented lines, its masks, the areas that were in use.

    Only what it took is given back; the fstab of today keeps all its other lines.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "swap was not turned off by Saltern"}
    try:
        taken = __salt__["original.noted"]("swap", backups)
        lines = __salt__["swap.commented_fstab"](fstab)
        areas = sorted(set(taken.get("areas", [])) - set(__salt__["swap.active"]()))
        units = [unit for unit in __salt__["swap.masked"]() if unit in taken.get("units", [])]
        back = {"in use": areas, "fstab": lines, "units": units}
        ret["changes"] = {key: {"old": [], "new": items} for key, items in back.items() if items}
        if not ret["changes"]:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "comment": "would give swap back"}
        __salt__["swap.uncomment_fstab"](fstab)
        for unit in units:
            __salt__["swap.unmask"](unit)
        for area in areas:
            __salt__["swap.on"](area)
        __salt__["original.unnote"]("swap", backups)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": "swap given back"}


def _facts(fstab):
    """Everything that is, or brings back, swap."""
    return {
        "in use": __salt__["swap.active"](),
        "fstab": __salt__["swap.fstab_lines"](fstab),
        "units": __salt__["swap.units"](),
    }


def _hosts_areas(facts):
    """The active areas that belong to the host of this system container, and the kind of container."""
    container = __salt__["node_facts.container"]()
    return (facts["in use"] if container else [], container)


def _plan(facts, host):
    """What has to go."""
    wanted = {"in use": host, "fstab": [], "units": []}
    return {key: {"old": facts[key], "new": wanted[key]} for key in wanted if facts[key] != wanted[key]}


def _disable(facts, host, fstab, backups):
    """Turn everything off that can be. Returns the errors."""
    __salt__["original.keep"](fstab, backups)
    areas = [area for area in facts["in use"] if area not in host]
    __salt__["original.note"]("swap", {"areas": areas, "units": facts["units"]}, backups)
    __salt__["swap.comment_fstab"](fstab)
    failures = []
    for verb, items in (("swap.mask", facts["units"]), ("swap.off", areas)):
        for item in items:
            try:
                __salt__[verb](item)
            except CommandExecutionError as err:
                failures.append(str(err))
    return failures
