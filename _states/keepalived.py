"""keepalived configured as the pillar says."""

from salt.exceptions import CommandExecutionError

UNIT = "keepalived.service"


def configured(name, settings, config):
    """The configuration is what the pillar and the node's own network interface make of it; keepalived accepted it.

    name: sentence for the log; settings: ``pillar["saltern"]["keepalived"]`` (see ``keepalived.text``); config: the
    file.
    A change of what it says has the next ``unit.running`` of keepalived.service reload it.
    Changes: ``{config: {"content" | "user" | "group" | "mode": {"old", "new"}}}``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "as wanted"}
    try:
        device = __salt__["keepalived.device"](settings["address"])
        wanted = __salt__["config_file.wanted"](__salt__["keepalived.text"](settings, device))
        before = __salt__["config_file.facts"](config)
        plan = __salt__["config_file.difference"](before, wanted)
        if not plan:
            return ret
        if "content" in plan:
            # Noted before the write: a run that is killed in between leaves none with a configuration of before.
            __salt__["unit_restart.note"]([UNIT], f"{config} changed", test=__opts__["test"])
        if __opts__["test"]:
            return ret | {"result": None, "changes": {config: plan}, "comment": f"would change {config}"}
        if "content" in plan:
            __salt__["keepalived.install"](wanted["content"], config)
        __salt__["config_file.own"](config, **{key: wanted[key] for key in ("user", "group", "mode")})
        after = __salt__["config_file.facts"](config)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": f"{config}: {err}"}
    ret["changes"] = {config: __salt__["config_file.difference"](before, after)}
    return ret | {"result": after == wanted, "comment": f"written; {device} carries the address"}
