"""systemd units that run and start at boot, or do neither; restarted or reloaded when what they read has changed."""

from pathlib import Path

from salt.exceptions import CommandExecutionError

# What these states are about; all else that systemd tells serves to bring it about.
FACTS = ("active", "enabled", "masked")


def running(name, units, files=(), needs=None, act="restart", binary=None, packages=(), in_turn=False):
    """Every unit has its files, is active, starts at boot, and runs with what its files say now.

    name: sentence for the log; units: list of names with their suffix.
    files: unit files, drop-ins and environments: ``[{"path", "text", "user", "group", "mode"}]``, the last three with
    defaults. They belong here and not to a state of their own: a file that masks a unit is a file and a fact of the
    unit, and only who looks at both before he changes either can tell beforehand what will change.
    needs: a file without which the units have nothing to do yet (the kubelet before kubeadm): they are enabled, and
    started once it exists.
    act: what a change of what they read does to units that were active before, ``restart`` or ``reload``: of their
    files, or of what another state has noted (``unit_restart``).
    binary: the program that the units run; a process of another program is restarted.
    packages: what brings the units; in test mode, where one would be installed first, they are taken to be as it leaves
    them.
    in_turn: whether other control-plane nodes have to stand still meanwhile (``turn``).
    A unit whose own conditions do not hold in a system container (time synchronisation: the clock is the host's) is
    named, not failed.
    Changes: ``{path: {"content" | "user" | "group" | "mode": {"old", "new"}}}``, ``{unit: {"old": facts, "new":
    facts}}`` with those of active, enabled and masked that change, and ``restarted`` (why) or ``reloaded``.
    """
    ret = {"name": name, "result": True, "changes": {}}
    done = f"{act}ed"
    try:
        noted = {unit: __salt__["unit_restart.reasons"](unit, test=__opts__["test"]) for unit in units}
        goal = _goal(units, files, needs, noted)
        before = _as_installed(__salt__["unit.facts"](units), packages)
        was = _files(goal)
        plan = _difference(was, goal["files"])
        lacking = {unit: _lacking(before[unit], goal) for unit in units}
        because = _because(before, plan, noted, binary)
        changes = plan | _changes(before, lacking, because, done)
        if __opts__["test"]:
            return ret | _would(changes, before, goal)
        failures = _settle(before, plan, lacking, because, goal, act, in_turn)
        after = __salt__["unit.facts"](units) if changes or failures else before
        left = _difference(_files(goal), goal["files"])
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": str(err)}
    acted = {unit: why for unit, why in because.items() if not failures}
    ret["changes"] = _difference(was, _files(goal)) | _changes(before, _changed(before, after), acted, done)
    wrong = [f"{unit}: {after[unit]['state']}" for unit in units if _lacking(after[unit], goal)]
    if failures or left or wrong:
        still = [f"{path}: still different" for path in left]
        return ret | {"result": False, "comment": "\n".join(failures or [*still, *wrong])}
    return ret | {"comment": _sentences(after, goal, acted, done)}


def dead(name, units):
    """Every unit is stopped and does not start at boot; one that systemd does not know is both already.

    Changes: ``{unit: {"old": {"active", "enabled"}, "new": {...}}}``, those that change.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "neither running nor enabled"}
    off = {"active": False, "enabled": False}
    try:
        before = __salt__["unit.facts"](units)
        lacking = {
            unit: {key: value for key, value in off.items() if before[unit]["loaded"] and before[unit][key] != value}
            for unit in units
        }
        plan = [unit for unit in units if lacking[unit]]
        if __opts__["test"] and plan:
            changes = _changes(before, lacking, {}, "")
            return ret | {"result": None, "changes": changes, "comment": f"would stop {', '.join(plan)}"}
        for unit in plan:
            __salt__["unit.act"]("stop", unit)
            __salt__["unit.disable"](unit)
        after = __salt__["unit.facts"](units) if plan else before
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": str(err)}
    ret["changes"] = _changes(before, _changed(before, after), {}, "")
    return ret | ({"comment": f"stopped {', '.join(plan)}"} if plan else {})


def reread(name):
    """systemd reads its unit files again. Only with ``onchanges`` on the states that take unit files away: those that
    write units have :func:`running` look for itself.

    name: sentence for the log. Changes: ``{"systemd": {"old": None, "new": "unit files read again"}}``.
    """
    ret = {"name": name, "result": True, "changes": {"systemd": {"old": None, "new": "unit files read again"}}}
    if __opts__["test"]:
        return ret | {"result": None, "comment": "would have systemd read its unit files again"}
    try:
        __salt__["unit.daemon_reload"]()
    except CommandExecutionError as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": "unit files read again"}


def _goal(units, files, needs, noted):
    """What the state is to bring about: facts that files are to have, and what may be expected of the units.

    In test mode a file that they need is there as well when an earlier state has noted that it would write it.
    """
    foreseen = any(reason.startswith(f"{needs} ") for reasons in noted.values() for reason in reasons)
    attributes = ("user", "group", "mode")
    return {
        "units": units,
        "files": {
            item["path"]: __salt__["config_file.wanted"](
                item["text"], **{key: item[key] for key in attributes if key in item}
            )
            for item in files
        },
        "needs": needs,
        "due": needs is None or foreseen or Path(needs).exists(),
        "container": __salt__["node_facts.container"]() if needs is None else None,
    }


def _as_installed(facts, packages):
    """The facts of units, in test mode of those that a package would bring first as it would leave them."""
    if not (__opts__["test"] and __salt__["os_package.foreseen"](packages)):
        return facts
    runs = __salt__["os_package.starts_services"]()
    brought = {"loaded": True, "masked": False, "active": runs, "enabled": runs, "stale": False}
    return {unit: found | brought for unit, found in facts.items()}


def _files(goal):
    """What the files are now."""
    return {path: __salt__["config_file.facts"](path) for path in goal["files"]}


def _difference(before, after):
    """{path: what differs}."""
    differences = {path: __salt__["config_file.difference"](before[path], after[path]) for path in after}
    return {path: difference for path, difference in differences.items() if difference}


def _lacking(facts, goal):
    """{fact: wanted value} of what a unit lacks."""
    due = goal["due"] and not (goal["container"] and facts["barred"])
    wanted = {"enabled": True, "masked": False} | ({"active": True} if due else {})
    return {key: value for key, value in wanted.items() if facts[key] != value}


def _changed(before, after):
    """{unit: {fact: value}} of what is not as it was before."""
    return {unit: {key: after[unit][key] for key in FACTS if after[unit][key] != before[unit][key]} for unit in after}


def _because(before, plan, noted, binary):
    """{unit: why it is restarted or reloaded}, of the units that run: one that is started reads everything anew."""
    changed = [f"{path} changed" for path, difference in plan.items() if "content" in difference]
    reasons = {}
    for unit, reasons_noted in noted.items():
        program = __salt__["running_binary.outdated"](before[unit]["pid"], binary) if binary else None
        why = list(dict.fromkeys([*changed, *reasons_noted, *([program] if program else [])]))
        if why and before[unit]["active"]:
            reasons[unit] = "; ".join(why)
    return reasons


def _changes(before, facts, because, done):
    """The changes of units: facts that differ, and restarts with their reason."""
    changes = {}
    for unit in before:
        new = dict(facts.get(unit, {}))
        old = {key: before[unit][key] for key in new}
        if unit in because:
            old, new = old | {done: None}, new | {done: because[unit]}
        if new:
            changes[unit] = {"old": old, "new": new}
    return changes


def _would(changes, before, goal):
    """What test mode says."""
    if not changes:
        return {"comment": _sentences(before, goal, {}, "")}
    return {"result": None, "changes": changes, "comment": f"would change {', '.join(changes)}"}


def _settle(before, plan, lacking, because, goal, act, in_turn):
    """Write the files, then bring up each unit as it lacks it. Returns the errors."""
    # Noted before the write: a run that is killed in between leaves no unit with files of before.
    for path, difference in plan.items():
        if "content" in difference:
            __salt__["unit_restart.note"](goal["units"], f"{path} changed")
    for path in plan:
        __salt__["config_file.settle"](path, goal["files"][path])
    written = any("content" in difference for difference in plan.values())
    if written or any(facts["stale"] or not facts["loaded"] for facts in before.values()):
        __salt__["unit.daemon_reload"]()

    def bring_up():
        return [error for unit in goal["units"] for error in _bring_up(unit, lacking[unit], unit in because, act)]

    if in_turn and because:
        return __salt__["turn.during"](f"{act} of {', '.join(because)}", bring_up)
    return bring_up()


def _bring_up(unit, lacking, again, act):
    """Unmask, enable, start or restart one unit as it needs it. Returns the errors."""
    try:
        if "masked" in lacking:
            __salt__["unit.unmask"](unit)
        if "enabled" in lacking:
            __salt__["unit.enable"](unit)
        if "active" in lacking or again:
            __salt__["unit.act"](act if again else "start", unit)
        __salt__["unit_restart.forget"](unit)
    except CommandExecutionError as err:
        return [str(err)]
    return []


def _sentences(facts, goal, acted, done):
    """How the units stand, and what is still to come."""
    waiting = "" if goal["due"] else f"; started once {goal['needs']} exists"
    return ", ".join(_sentence(unit, facts[unit], goal, acted, done) for unit in goal["units"]) + waiting


def _sentence(unit, facts, goal, acted, done):
    """How one unit stands."""
    barred = not facts["active"] and facts["barred"] and goal["container"]
    why = f", {done}: {acted[unit]}" if unit in acted else ""
    note = f", for a condition of it does not hold in this {goal['container']} container" if barred else ""
    return f"{unit} {facts['state']}{why}{note}"
