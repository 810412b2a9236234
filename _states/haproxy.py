"""HAProxy configured as the pillar says."""

from salt.exceptions import CommandExecutionError

UNIT = "haproxy.service"


def configured(name, settings, backups, ca_copy=None, config="/etc/haproxy/haproxy.cfg"):
    """The configuration is what pillar and cluster CA, once it is there, make of it; HAProxy accepted it.

    name: sentence for the log; settings: ``pillar["saltern"]["haproxy"]``: ``{"frontends", "backends", "ca_path",
    "stats", "socket", "alive"}``;
    backups: directories for the package's configuration; ca_copy: where the cluster's CA was handed over; config: the
    file.
    A change of what it says has the next ``unit.running`` of haproxy.service reload it.
    Changes: ``{config: {"content" | "user" | "group" | "mode": {"old", "new"}}}``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        ca_path = __salt__["haproxy.trusted"](settings["ca_path"], ca_copy)
        verified = (
            f"servers verified by {ca_path}"
            if ca_path
            else f"servers not verified before {settings['ca_path']} is there"
        )
        optional = [settings.get(key) for key in ("stats", "socket", "alive")]
        text = __salt__["haproxy.text"](settings["frontends"], settings["backends"], ca_path, *optional)
        wanted = __salt__["config_file.wanted"](text)
        before = __salt__["config_file.facts"](config)
        plan = __salt__["config_file.difference"](before, wanted)
        if not plan:
            return ret | {"comment": f"as wanted; {verified}"}
        if "content" in plan:
            __salt__["unit_restart.note"]([UNIT], f"{config} changed", test=__opts__["test"])
        if __opts__["test"]:
            return ret | {
                "result": None,
                "changes": {config: plan},
                "comment": f"would change {config}; {verified}",
            }
        if "content" in plan:
            __salt__["original.keep"](config, backups)
            __salt__["haproxy.install"](wanted["content"], config)
        __salt__["config_file.own"](config, **{key: wanted[key] for key in ("user", "group", "mode")})
        after = __salt__["config_file.facts"](config)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": f"{config}: {err}"}
    ret["changes"] = {config: __salt__["config_file.difference"](before, after)}
    return ret | {"result": after == wanted, "comment": f"written; {verified}"}


def restored(name, backups, config="/etc/haproxy/haproxy.cfg"):
    """The configuration of before :func:`configured` is back."""
    ret = {"name": name, "result": True, "changes": {}, "comment": "no configuration of Saltern"}
    try:
        if not __salt__["original.kept"](config, backups):
            return ret
        ret["changes"] = {config: {"old": "Saltern's", "new": "as before"}}
        if __opts__["test"]:
            return ret | {"result": None, "comment": f"would give {config} back"}
        done = __salt__["original.restore"](config, backups)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "changes": {}, "comment": f"{config}: {err}"}
    return ret | {"comment": f"{config} {done}"}
