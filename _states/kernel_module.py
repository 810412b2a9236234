"""Kernel modules in the kernel, now and after every boot."""

from salt.exceptions import CommandExecutionError


def present(name, modules, backups, lists="/etc/modules-load.d"):
    """Every module is in the running kernel and has a file of its own under /etc/modules-load.d.

    name: sentence for the log; modules: list; backups: directories for what was there before; lists: the directory of
    the files.
    Changes: ``{module: {"kernel": {"old", "new"}, "content" | "user" | "group" | "mode": {"old", "new"}}}``, the last
    four of its file.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        before = {module: _facts(module, lists) for module in modules}
        plan = {module: change for module in modules if (change := _plan(module, before[module]))}
        if __opts__["test"] and plan:
            return ret | {"result": None, "changes": plan, "comment": f"would add {', '.join(plan)}"}
        failures = [error for module in plan if (error := _add(module, plan[module], backups, lists))]
        after = {module: _facts(module, lists) for module in modules}
    except OSError as err:
        return ret | {"result": False, "comment": str(err)}
    ret["changes"] = {module: change for module in modules if (change := _difference(before[module], after[module]))}
    if failures:
        return ret | {"result": False, "comment": "; ".join(failures)}
    return ret | {"comment": ", ".join(f"{module}: {facts['kernel']}" for module, facts in after.items())}


def absent(name, modules, backups, lists="/etc/modules-load.d"):
    """The modules are no longer loaded at boot; the files that were there before are back.

    What :func:`present` loaded is unloaded unless something uses it: then it stays until the next boot, and the
    comment says so.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "nothing of Saltern"}
    try:
        paths = {module: __salt__["kernel_module.list_path"](module, lists) for module in modules}
        ours = [module for module in modules if __salt__["original.kept"](paths[module], backups)]
        ret["changes"] = {module: {"boot": {"old": True, "new": False}} for module in ours}
        if not ours:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "comment": f"would give back {', '.join(ours)}"}
        for module in ours:
            __salt__["original.restore"](paths[module], backups)
        loaded = __salt__["original.unnote"]("kernel modules", backups)
        in_use = [module for module in loaded if not __salt__["kernel_module.unload"](module)]
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {
        "comment": f"stays until the next boot, for it is in use: {', '.join(in_use)}" if in_use else "given back"
    }


def _facts(module, lists):
    """What holds for one module now."""
    file = __salt__["config_file.facts"](__salt__["kernel_module.list_path"](module, lists))
    return {"kernel": __salt__["kernel_module.available"](module), **file}


def _plan(module, facts):
    """What is missing, as changes."""
    wanted = {"kernel": facts["kernel"] or "loaded", **__salt__["config_file.wanted"](module)}
    return _difference(facts, wanted)


def _difference(before, after):
    """{fact: {"old", "new"}} of what differs."""
    return __salt__["config_file.difference"](before, after)


def _add(module, plan, backups, lists):
    """List and load one module. Returns the error's text or None."""
    if set(plan) - {"kernel"}:
        path = __salt__["kernel_module.list_path"](module, lists)
        __salt__["original.keep"](path, backups)
        __salt__["config_file.settle"](path, __salt__["config_file.wanted"](module))
    if "kernel" not in plan:
        return None
    try:
        __salt__["kernel_module.load"](module)
        __salt__["original.note"]("kernel modules", {module: "loaded by Saltern"}, backups)
    except CommandExecutionError as err:
        return str(err)
    return None
