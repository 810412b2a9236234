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
    Changes: ``{"75-inotify.conf": {"content" | "user" | "group" | "mode": {"old", "new"}}, "vm.swappiness": {"old":
    "60", "new": "10"}}``; of a file that goes the content alone.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        files = _wanted_files(profiles, obsolete)
        settings = {
            key: __salt__["sysctl_profile.plain"](value)
            for profile in profiles.values()
            for key, value in profile.items()
        }
        was, live = _files(files, directory), __salt__["sysctl_profile.live"](list(settings), proc_sys)
        excepted = _excepted(live, settings, proc_sys)
        wanted = {key: value for key, value in settings.items() if key not in excepted}
        stale, unset = _file_changes(was, files), _difference(live, wanted)
        plan = stale | unset
        if __opts__["test"] and plan:
            return ret | {
                "result": None,
                "changes": plan,
                "comment": f"would change {', '.join(plan)}{_named(excepted)}",
            }
        _write(stale, files, directory, backups)
        refused = _put_in_force(unset, proc_sys, backups)
        now, in_force = _files(files, directory), __salt__["sysctl_profile.live"](list(settings), proc_sys)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": str(err)}
    ret["changes"] = _file_changes(was, now) | _difference(live, in_force)
    failures = [f"{name} is still different" for name in _file_changes(now, files)]
    failures += _failures(_difference(in_force, wanted), refused)
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


def _wanted_files(profiles, obsolete):
    """{file name: its facts, without content for one that must not be}."""
    texts = {f"{profile}.conf": __salt__["sysctl_profile.text"](settings) for profile, settings in profiles.items()}
    gone = {f"{profile}.conf": {"content": None} for profile in obsolete}
    return {name: __salt__["config_file.wanted"](text) for name, text in texts.items()} | gone


def _paths(profiles, directory):
    """The files of the profiles."""
    return [str(Path(directory) / f"{profile}.conf") for profile in profiles]


def _files(names, directory):
    """{file name: what the file is now}."""
    return {name: __salt__["config_file.facts"](str(Path(directory) / name)) for name in names}


def _file_changes(before, after):
    """{file name: what differs}."""
    absent = {"content": None}
    changes = {name: __salt__["config_file.difference"](before[name], after[name] or absent) for name in after}
    return {name: change for name, change in changes.items() if change}


def _difference(before, after):
    """{what: {"old", "new"}} of what differs."""
    return {key: {"old": before[key], "new": after[key]} for key in after if before[key] != after[key]}


def _excepted(live, settings, proc_sys):
    """{key: why it cannot have its value here}: keys that the kernel lacks, and read-only ones that have another."""
    missing = {key: "missing" for key in settings if live[key] is None}
    other = [key for key in settings if key not in missing and live[key] != settings[key]]
    return missing | dict.fromkeys(__salt__["sysctl_profile.read_only"](other, proc_sys), "read-only")


def _write(stale, files, directory, backups):
    """Write or remove the files that differ."""
    for name in stale:
        path = Path(directory) / name
        __salt__["original.keep"](str(path), backups)
        if files[name]["content"] is None:
            path.unlink()
        else:
            __salt__["config_file.settle"](str(path), files[name])


def _put_in_force(unset, proc_sys, backups):
    """Write the values that differ. Returns {key: reason} of those that the kernel refused."""
    __salt__["original.note"]("sysctl", {key: change["old"] for key, change in unset.items()}, backups)
    return __salt__["sysctl_profile.settle"]({key: change["new"] for key, change in unset.items()}, proc_sys)


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
