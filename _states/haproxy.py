"""HAProxy configured as the pillar says."""

from salt.exceptions import CommandExecutionError


def configured(name, settings, backups, config="/etc/haproxy/haproxy.cfg"):
    """The configuration is what pillar and cluster CA, once it is there, make of it; HAProxy accepted it.

    name: sentence for the log; settings: ``pillar["saltern"]["haproxy"]``: ``{"frontends", "backends", "ca_path",
    "stats"}``;
    backups: directories for the package's configuration; config: the file. Changes: ``{config: {"old": text, "new":
    text}}``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        ca_path = __salt__["haproxy.trusted"](settings["ca_path"])
        verified = (
            f"servers verified by {ca_path}"
            if ca_path
            else f"servers not verified before {settings['ca_path']} is there"
        )
        wanted = __salt__["haproxy.text"](settings["frontends"], settings["backends"], ca_path, settings.get("stats"))
        before = __salt__["haproxy.current"](config)
        if before == wanted:
            return ret | {"comment": f"as wanted; {verified}"}
        change = {config: {"old": before, "new": wanted}}
        if __opts__["test"]:
            return ret | {"result": None, "changes": change, "comment": f"would write {config}; {verified}"}
        __salt__["original.keep"](config, backups)
        __salt__["haproxy.install"](wanted, config)
        after = __salt__["haproxy.current"](config)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": f"{config}: {err}"}
    ret["changes"] = {config: {"old": before, "new": after}}
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
