"""CRI-O configured as the pillar says."""

from pathlib import Path

from salt.exceptions import CommandExecutionError

UNIT = "crio.service"


def configured(name, sandbox, settings):
    """All files of CRI-O's configuration say what the pillar and the bundle make of them, and are root's.

    name: sentence for the log; sandbox: the sandbox root; settings: ``pillar["saltern"]["crio"]``.
    A change of what they say has the next ``unit.running`` of crio.service restart it.
    Changes: ``{path: {dotted key: {"old", "new"}}}`` for TOML, ``{path: {"content": {"old", "new"}}}`` for the others;
    besides ``user``, ``group`` and ``mode``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "configuration as wanted"}
    try:
        if __opts__["test"] and not Path(settings["bundle_config"]).exists():
            return ret | {"result": None, "comment": "would be configured once the artefact crio is installed"}
        texts = __salt__["crio.wanted"](sandbox, settings)
        wanted = {path: __salt__["config_file.wanted"](text) for path, text in texts.items()}
        before = _facts(wanted)
        plan = _difference(before, wanted)
        if not plan:
            return ret
        for path in plan:
            if before[path].get("content") != wanted[path]["content"] and path not in _read_by_others(sandbox):
                __salt__["unit_restart.note"]([UNIT], f"{path} changed", test=__opts__["test"])
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"would write {', '.join(plan)}"}
        for path in plan:
            __salt__["config_file.settle"](path, wanted[path])
        after = _facts(wanted)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": str(err)}
    left = _difference(after, wanted)
    comment = f"still different: {', '.join(left)}" if left else f"written {', '.join(plan)}"
    return ret | {"result": not left, "changes": _difference(before, after), "comment": comment}


def _facts(paths):
    """{path: what the file is now}."""
    return {path: __salt__["config_file.facts"](path) for path in paths}


def _difference(before, after):
    """{path: what differs}."""
    return {path: change for path in after if (change := __salt__["crio.difference"](before[path], after[path]))}


def _read_by_others(sandbox):
    """Files of the configuration that CRI-O itself does not read: crictl's."""
    return [f"{sandbox}/etc/crictl.yaml"]
