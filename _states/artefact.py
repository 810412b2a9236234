"""Artefacts as the pillar pins them: installed from verified archives, or gone."""

from salt.exceptions import CommandExecutionError


def installed(name, artefacts, downloads, records):
    """Every artefact is installed from the archive that the pillar pins, and its files are untouched since.

    name: sentence for the log.
    artefacts: ``pillar["saltern"]["artefacts"]``: list of ``{name, version, url, sha256, format, files: [{member,
    path, mode}]}``.
    downloads: directory for the transfers; records: directory of the records.
    Changes: ``{artefact: {"old": what is there, "new": version}}``. One that cannot be had does not keep the others
    from being installed.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{len(artefacts)} artefacts as pinned"}
    try:
        reasons = _reasons(artefacts, records)
        stale = [item for item in artefacts if reasons[item["name"]]]
        if __opts__["test"]:
            return ret | _would_install(stale, reasons)
        failures = __salt__["artefact.install"](stale, downloads, records) if stale else {}
        after = _reasons(stale, records)
        for item in artefacts:
            if item not in stale:
                __salt__["artefact.renew_record"](item, records)
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": str(err)}
    ret["changes"] = {
        item["name"]: {"old": reasons[item["name"]], "new": item["version"]}
        for item in stale
        if after[item["name"]] is None
    }
    wrong = [failures[key] or f"{key}: {reason}" for key, reason in after.items() if reason]
    if wrong:
        return ret | {"result": False, "comment": "\n".join(wrong)}
    if stale:
        ret["comment"] = "installed " + ", ".join(f"{item['name']} {item['version']}" for item in stale)
    return ret


def absent(name, artefacts, records):
    """The files of every named artefact are gone, and so is its record.

    name: sentence for the log; artefacts: list of names; records: directory of the records.
    Only what the record lists is removed. Changes: ``{artefact: {"old": version, "new": None}}``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": "no such artefact is installed"}
    try:
        there = {item: found["version"] for item in artefacts if (found := __salt__["artefact.record"](item, records))}
        ret["changes"] = {item: {"old": version, "new": None} for item, version in there.items()}
        if not there:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "comment": f"would remove {', '.join(there)}"}
        for item in there:
            __salt__["artefact.remove"](item, records)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": f"removed {', '.join(there)}"}


def _reasons(artefacts, records):
    """{name: why it is not as wanted, or None}."""
    return {item["name"]: __salt__["artefact.difference"](item, records) for item in artefacts}


def _would_install(stale, reasons):
    """What test mode says."""
    if not stale:
        return {}
    changes = {item["name"]: {"old": reasons[item["name"]], "new": item["version"]} for item in stale}
    return {
        "result": None,
        "changes": changes,
        "comment": "would install " + ", ".join(f"{k} {v['new']}" for k, v in changes.items()),
    }
