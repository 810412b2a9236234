"""CRI-O configured as the pillar says."""

from pathlib import Path

from salt.exceptions import CommandExecutionError


def configured(name, sandbox, settings):
    """All files of CRI-O's configuration say what the pillar and the bundle make of them.

    name: sentence for the log; sandbox: the sandbox root; settings: ``pillar["saltern"]["crio"]``.
    Changes: ``{path: {dotted key: {"old", "new"}}}`` for TOML, ``{path: {"old": text, "new": text}}`` for the others.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "configuration as wanted"}
    try:
        if __opts__["test"] and not Path(settings["bundle_config"]).exists():
            return ret | {"result": None, "comment": "would be configured once the artefact crio is installed"}
        wanted = __salt__["crio.wanted"](sandbox, settings)
        before = __salt__["crio.present"](list(wanted))
        plan = _difference(before, wanted)
        if not plan:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"would write {', '.join(plan)}"}
        for path in plan:
            __salt__["crio.write"](path, wanted[path])
        after = __salt__["crio.present"](list(wanted))
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": str(err)}
    left = _difference(after, wanted)
    comment = f"still different: {', '.join(left)}" if left else f"written {', '.join(plan)}"
    return ret | {"result": not left, "changes": _difference(before, after), "comment": comment}


def _difference(before, after):
    """{path: what differs}."""
    return {path: change for path in after if (change := __salt__["crio.difference"](before[path], after[path]))}
