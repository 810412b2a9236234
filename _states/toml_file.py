"""TOML files with certain keys set."""

from pathlib import Path

from salt.exceptions import CommandExecutionError


def keys(name, values):
    """The keys of a TOML file have these values; all else that it says stays (its comments do not).

    name: the file; values: ``{"dotted.key": value}``. A missing file is made.
    Changes: ``{"dotted.key": {"old": value | None, "new": value}}``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{len(values)} keys as wanted"}
    try:
        before = __salt__["toml_file.read"](name) if Path(name).exists() else {}
        wanted = __salt__["toml_file.merged"](before, values)
        plan = _difference(before, wanted)
        if not plan:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"would set {', '.join(plan)}"}
        __salt__["toml_file.write"](name, wanted)
        after = __salt__["toml_file.read"](name)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": str(err)}
    return ret | {"result": after == wanted, "changes": _difference(before, after), "comment": f"set {', '.join(plan)}"}


def _difference(before, after):
    """{dotted key: {"old", "new"}} of what differs."""
    old, new = __salt__["toml_file.flat"](before), __salt__["toml_file.flat"](after)
    names = dict.fromkeys([*new, *old])
    return {key: {"old": old.get(key), "new": new.get(key)} for key in names if old.get(key) != new.get(key)}
