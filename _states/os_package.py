"""Packages that are installed or not; index and upgrades only at the first bring-up."""

from salt.exceptions import CommandExecutionError

FIRST = "first bring-up"


def settled(name, packages, absent, refresh, upgrade, marker):
    """The packages are installed, others are not; the index was refreshed and everything upgraded once if so wished.

    name: sentence for the log; packages, absent: lists of Debian's names; refresh, upgrade: switches, heeded at the
    first bring-up of a node
    only and never again: no later run may change versions under a running cluster. marker: the file that tells of the
    first bring-up.
    Changes: ``{package: {"old": version | None, "new": version | None}}`` and ``{"first bring-up": ...}``. What the
    first bring-up upgrades is known only once the index is refreshed: test mode names the upgrade, not its packages.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    packages = __salt__["os_package.local_names"](packages)
    try:
        before = __salt__["os_package.versions"]([*packages, *absent])
        first = not __salt__["os_package.brought_up"](marker)
        missing = [package for package in packages if before[package] is None]
        unwanted = [package for package in absent if before[package] is not None]
        plan = {package: {"old": before[package], "new": None} for package in unwanted}
        plan |= {FIRST: _first(refresh, upgrade)} if first and (refresh or upgrade) else {}
        candidates = __salt__["os_package.candidates"](missing)
        plan |= {package: {"old": None, "new": candidates[package]} for package in missing}
        if not plan:
            return ret | {"comment": f"{len(packages)} packages installed"}
        if __opts__["test"]:
            __salt__["os_package.foresee"](missing)
            return ret | {"result": None, "changes": plan, "comment": f"would change {', '.join(plan)}"}
        upgraded = __salt__["os_package.bring_up"](marker, refresh, upgrade) if first else {}
        failure = _act(missing, unwanted)
        after = __salt__["os_package.versions"]([*packages, *absent])
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": str(err)}
    done = {key: change for key, change in plan.items() if key == FIRST}
    ret["changes"] = upgraded | done | _difference(before, after)
    left = [package for package in packages if after[package] is None] + [
        package for package in absent if after[package]
    ]
    if failure or left:
        return ret | {"result": False, "comment": failure or _still(left, marker)}
    return ret | {"comment": f"{len(packages)} packages installed"}


def _first(refresh, upgrade):
    """What the first bring-up does, as a change."""
    done = [word for word, wished in (("index refreshed", refresh), ("packages upgraded", upgrade)) if wished]
    return {"old": None, "new": ", ".join(done)}


def _act(missing, unwanted):
    """Remove and install. Returns the error's text or None."""
    try:
        if unwanted:
            __salt__["os_package.remove"](unwanted)
        if missing:
            __salt__["os_package.install"](missing)
    except CommandExecutionError as err:
        return str(err)
    return None


def _still(left, marker):
    """Packages that the package manager left as they were."""
    return (
        f"not as wanted after the package manager ran: {', '.join(left)}. Are they in this node's package sources "
        f"(apt-get update; apt-cache policy NAME)? Removing {marker} has the next run refresh the index once more"
    )


def _difference(before, after):
    """{package: {"old", "new"}} of what differs."""
    return {key: {"old": before[key], "new": after[key]} for key in after if before[key] != after[key]}
