"""systemd units that run and start at boot, or do neither; restarted or reloaded when what they read has changed."""

from pathlib import Path

from salt.exceptions import CommandExecutionError


def running(name, units, needs=None, act="restart"):
    """Every unit is known to systemd as its files are now, is active and starts at boot.

    name: sentence for the log; units: list of names with their suffix.
    needs: a file without which the units have nothing to do yet (the kubelet before kubeadm): they are enabled, and
    started once it exists.
    act: what a ``watch`` of changed files does to units that were active before, ``restart`` or ``reload``.
    A unit whose own conditions do not hold in a system container (time synchronisation: the clock is the host's) is
    named, not failed.
    Changes: ``{unit: {"old": {"active", "enabled"}, "new": {...}}}``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    due = needs is None or Path(needs).exists()
    try:
        before = __salt__["unit.facts"](units)
        absent = [unit for unit in units if not before[unit]["loaded"]]
        container = __salt__["node_facts.container"]() if needs is None else None
        plan = {unit: change for unit in units if (change := _difference(before[unit], due, container))}
        if __opts__["test"]:
            return ret | _would_run(plan, before, units)
        if any(before[unit]["stale"] for unit in units) or absent:
            __salt__["unit.daemon_reload"]()
        failures = [error for unit in plan for error in _bring_up(unit, plan[unit])]
        after = __salt__["unit.facts"](units) if plan else before
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": str(err)}
    ret["changes"] = {unit: change for unit in plan if (change := _changed(before[unit], after[unit]))}
    left = [f"{unit}: {after[unit]['state']}" for unit in units if _difference(after[unit], due, container)]
    if failures or left:
        return ret | {"result": False, "comment": "\n".join(failures or left)}
    waiting = "" if due else f"; started once {needs} exists"
    return ret | {"comment": ", ".join(_sentence(unit, after[unit], container) for unit in units) + waiting}


def mod_watch(name, units=None, needs=None, act="restart", **_kwargs):
    """Restart or reload the units that are active: what Salt calls when something that they ``watch`` has changed."""
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        facts = __salt__["unit.facts"](units)
        active = [unit for unit in units if facts[unit]["active"]]
        ret["changes"] = {unit: {"old": facts[unit]["state"], "new": f"{act}ed"} for unit in active}
        if not active:
            return ret | {"comment": f"nothing to {act}: {', '.join(units)} not active"}
        if __opts__["test"]:
            return ret | {"result": None, "comment": f"would {act} {', '.join(active)}"}
        if any(facts[unit]["stale"] for unit in units):
            __salt__["unit.daemon_reload"]()
        for unit in active:
            __salt__["unit.act"](act, unit)
    except CommandExecutionError as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return running(name, units, needs, act) | {"changes": ret["changes"], "comment": f"{act}ed {', '.join(active)}"}


def dead(name, units):
    """Every unit is stopped and does not start at boot; one that systemd does not know is both already.

    Changes: as in :func:`running`.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "neither running nor enabled"}
    try:
        before = __salt__["unit.facts"](units)
        plan = [
            unit for unit in units if before[unit]["loaded"] and (before[unit]["active"] or before[unit]["enabled"])
        ]
        if __opts__["test"] and plan:
            off = {"active": False, "enabled": False}
            changes = {unit: {"old": _short(before[unit]), "new": off} for unit in plan}
            return ret | {"result": None, "changes": changes, "comment": f"would stop {', '.join(plan)}"}
        for unit in plan:
            __salt__["unit.act"]("stop", unit)
            __salt__["unit.disable"](unit)
        after = __salt__["unit.facts"](units) if plan else before
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": str(err)}
    ret["changes"] = {unit: change for unit in plan if (change := _changed(before[unit], after[unit]))}
    return ret | ({"comment": f"stopped {', '.join(plan)}"} if plan else {})


def _short(facts):
    """The two facts that these states are about."""
    return {"active": facts["active"], "enabled": facts["enabled"]}


def _sentence(unit, facts, container):
    """How a unit stands."""
    barred = not facts["active"] and facts["barred"] and container
    return f"{unit} {facts['state']}" + (
        f", for a condition of it does not hold in this {container} container" if barred else ""
    )


def _difference(facts, due, container):
    """{fact: wanted value} of what a unit lacks."""
    due = due and not (container and facts["barred"])
    wanted = {"enabled": True} | ({"active": True} if due else {})
    return {key: value for key, value in wanted.items() if facts[key] != value}


def _changed(before, after):
    """{"old", "new"} of one unit, or {}."""
    return {"old": _short(before), "new": _short(after)} if _short(before) != _short(after) else {}


def _bring_up(unit, lacking):
    """Enable and start one unit as it lacks it. Returns the errors."""
    try:
        if "enabled" in lacking:
            __salt__["unit.enable"](unit)
        if "active" in lacking:
            __salt__["unit.act"]("start", unit)
    except CommandExecutionError as err:
        return [str(err)]
    return []


def _would_run(plan, before, units):
    """What test mode says."""
    if not plan:
        return {"comment": ", ".join(f"{unit} {before[unit]['state']}" for unit in units)}
    changes = {unit: {"old": _short(before[unit]), "new": _short(before[unit]) | plan[unit]} for unit in plan}
    return {"result": None, "changes": changes, "comment": f"would enable or start {', '.join(plan)}"}
