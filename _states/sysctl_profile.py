"""sysctl profiles applied, and given back."""

from pathlib import Path

from salt.exceptions import CommandExecutionError


def applied(name, profiles, obsolete, backups, directory="/etc/sysctl.d", proc_sys="/proc/sys"):
    """Each profile is a file as given, its values are in force, and obsolete files are gone.

    name: sentence for the log; profiles: ``{"75-inotify": {key: value}}``; obsolete: list of file names without
    ``.conf``;
    backups: directories for the files and live values of before; directory, proc_sys: where files and live values are.
    Keys that this kernel lacks, or that cannot be written here (system containers), are named in the comment: not
    applied, not failed.
    Changes: ``{"75-inotify.conf": {"old": text | None, "new": text | None}, "vm.swappiness": {"old": "60", "new":
    "10"}}``.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        texts = _wanted_texts(profiles, obsolete)
        settings = {
            key: __salt__["sysctl_profile.plain"](value)
            for profile in profiles.values()
            for key, value in profile.items()
        }
        before = _files(texts, directory) | __salt__["sysctl_profile.live"](list(settings), proc_sys)
        excepted = _excepted(before, settings, proc_sys)
        wanted = texts | {key: value for key, value in settings.items() if key not in excepted}
        plan = _difference(before, wanted)
        if __opts__["test"] and plan:
            return ret | {
                "result": None,
                "changes": plan,
                "comment": f"would change {', '.join(plan)}{_named(excepted)}",
            }
        refused = _apply(plan, texts, directory, proc_sys, backups)
        after = _files(texts, directory) | __salt__["sysctl_profile.live"](list(settings), proc_sys)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": str(err)}
    ret["changes"] = _difference(before, after)
    failures = _failures(_difference(after, wanted), refused)
    if failures:
        return ret | {"result": False, "comment": "; ".join(failures)}
    return ret | {"comment": f"{len(settings) - len(excepted)} of {len(settings)} values in force{_named(excepted)}"}


def absent(name, profiles, obsolete, backups, directory="/etc/sysctl.d", proc_sys="/proc/sys"):
    """The files and live values of before :func:`applied` are back."""
    ret = {"name": name, "result": True, "changes": {}, "comment": "no profile of Saltern"}
    try:
        files = [path for path in _paths([*profiles, *obsolete], directory) if __salt__["original.kept"](path, backups)]
        values = __salt__["original.noted"]("sysctl", backups)
        if not files and not values:
            return ret
        live = __salt__["sysctl_profile.live"](list(values), proc_sys)
        ret["changes"] = _difference(live, values) | {
            Path(path).name: {"old": "Saltern's", "new": "as before"} for path in files
        }
        if __opts__["test"]:
            return ret | {"result": None, "comment": "would give back what was there before"}
        for path in files:
            __salt__["original.restore"](path, backups)
        refused = __salt__["sysctl_profile.settle"](values, proc_sys)
        __salt__["original.unnote"]("sysctl", backups)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "changes": {}, "comment": str(err)}
    return ret | {"comment": f"given back{_named(refused)}"}


def _wanted_texts(profiles, obsolete):
    """{file name: content, None for one that must not be}."""
    texts = {f"{profile}.conf": __salt__["sysctl_profile.text"](settings) for profile, settings in profiles.items()}
    return texts | {f"{profile}.conf": None for profile in obsolete}


def _paths(profiles, directory):
    """The files of the profiles."""
    return [str(Path(directory) / f"{profile}.conf") for profile in profiles]


def _files(names, directory):
    """{file name: content, None where there is none}."""
    paths = {name: Path(directory) / name for name in names}
    return {name: path.read_text() if path.exists() else None for name, path in paths.items()}


def _difference(before, after):
    """{what: {"old", "new"}} of what differs."""
    return {key: {"old": before[key], "new": after[key]} for key in after if before[key] != after[key]}


def _excepted(live, settings, proc_sys):
    """{key: why it cannot have its value here}: keys that the kernel lacks, and read-only ones that have another."""
    missing = {key: "missing" for key in settings if live[key] is None}
    other = [key for key in settings if key not in missing and live[key] != settings[key]]
    return missing | dict.fromkeys(__salt__["sysctl_profile.read_only"](other, proc_sys), "read-only")


def _apply(plan, texts, directory, proc_sys, backups):
    """Write the files and values that differ. Returns {key: reason} of the values that the kernel refused."""
    for name in (name for name in texts if name in plan):
        path = Path(directory) / name
        __salt__["original.keep"](str(path), backups)
        if texts[name] is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts[name])
            path.chmod(0o644)
    values = {key: change for key, change in plan.items() if key not in texts}
    __salt__["original.note"]("sysctl", {key: change["old"] for key, change in values.items()}, backups)
    return __salt__["sysctl_profile.settle"]({key: change["new"] for key, change in values.items()}, proc_sys)


def _failures(left, refused):
    """Values that the kernel refused, or took for another."""
    return [
        f"{key} = {change['new']}: {refused[key]}"
        if key in refused
        else f"{key} = {change['new']} was written, {change['old']} is in force"
        for key, change in left.items()
    ]


def _named(reasons):
    """The keys by reason, as the end of a sentence."""
    kinds = {reason: [key for key in reasons if reasons[key] == reason] for reason in sorted(set(reasons.values()))}
    return "".join(f"; {reason} here: {', '.join(keys)}" for reason, keys in kinds.items())
