"""
What the last state run of this node applied, and whether that is still so.

Each state run that ends (not one in test mode) leaves the states that it applied with their arguments, as they were
rendered. :func:`drift` lets the same states look again, in their test mode: nothing is rendered, compiled or asked of
the master, so it takes a fraction of ``state.apply test=True`` and says the same, as of the definition of that run.
Of states that would be slow to look, a digest of their files is kept instead.
"""

import contextlib
import datetime
import hashlib
import json
import os
from pathlib import Path

import salt.loader
from salt.exceptions import CommandExecutionError

# States that read nothing but this node, and fast: they can be let look again at any time. A new state of the
# highstate belongs here, into FINGERPRINTED or into UNSEEN (tests/render/test_highstate.py).
REPLAYED = frozenset(
    {
        "account.present",
        "artefact.installed",
        "bind_mount.mounted",
        "config_file.kept",
        "config_file.managed",
        "crio.configured",
        "directory_tree.present",
        "file.absent",
        "haproxy.configured",
        "hosts_file.present",
        "keepalived.configured",
        "kernel_module.present",
        "kubeconfig.installed",
        "link_farm.present",
        "original.kept",
        "original.put_aside",
        "os_package.settled",
        "swap.disabled",
        "sysctl_profile.applied",
        "unit.running",
    }
)
# States that have kubeadm render what they compare with: which files, below the sandbox, they are about.
FINGERPRINTED = {
    "kubeadm_files.kubelet": (
        "var/lib/kubelet/config.yaml",
        "var/lib/kubelet/instance-config.yaml",
        "var/lib/kubelet/kubeadm-flags.env",
    ),
    "kubeadm_files.static_pods": ("etc/kubernetes/manifests/*.yaml",),
}
# Why the others are not looked at.
UNSEEN = {
    "helm_release.deployed": "asks the cluster; cluster.status asks it itself",
    "keeper.told": "changes nothing",
    "kube.endpoint_ready": "waits for the cluster, changes nothing",
    "kube.rolled_out": "waits for the cluster, changes nothing",
    "manifest.applied": "asks the cluster; state.apply test=True tells",
    "node_marks.as_defined": "asks the cluster; state.apply test=True tells",
    "kubeadm.initialised": "asks the cluster; cluster.status asks it itself",
    "kubeadm.joined": "asks the cluster; cluster.status asks it itself",
    "kubeconfig.endpoints": "may wait for the endpoint; drift() compares the URLs in the files instead",
    "last_apply.recorded": "changes nothing",
}
ENDPOINTS = "kubeconfig.endpoints"
SHOWN_CHARACTERS = 60


def path():
    """
    Give the path of the record.

    CLI Example:

    .. code-block:: bash

        salt '*' last_apply.path
    """
    return __salt__["sandbox.path"]("etc", "provisioner", "last-apply.json")


def read():
    """
    Give the record: ``{"time", "succeeded", "failed": [state IDs], "pillar": {key: digest}, "sls": {name: {"time",
    "states": [{"id", "function", "name", "arguments" | "files"}]}}}``, or None when nothing was applied yet.

    time: of the last run, and of the last run that had this SLS; UTC, like 2026-01-31T12:00:00Z. pillar: what the
    pillar of that run was, so that the master can tell whether the definition has changed since.

    Raises CommandExecutionError when the file is damaged.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 last_apply.read
    """
    try:
        return json.loads(Path(path()).read_text())
    except FileNotFoundError:
        return None
    except ValueError as err:
        raise CommandExecutionError(
            f"{__opts__['id']}: {path()} is damaged ({err}): salt {__opts__['id']} state.apply writes it anew"
        ) from err


def summary():
    """
    Give the record without the states: what :func:`read` gives, less ``sls``.

    CLI Example:

    .. code-block:: bash

        salt '*' last_apply.summary
    """
    record = read()
    return record and {key: value for key, value in record.items() if key != "sls"}


def write(applied, failed):
    """
    Record a state run. An SLS that it did not have keeps what was recorded of it.

    applied
        Its states: list of ``{"id", "sls", "function", "name", "arguments"}``.

    failed
        IDs of those that failed.

    CLI Example: none, it is for the state ``last_apply.recorded``.
    """
    try:
        before = (read() or {}).get("sls", {})
    except CommandExecutionError:
        before = {}
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    sls = {}
    for state in applied:
        entry = _entry(state, before, state["id"] in failed)
        sls.setdefault(state["sls"], {"time": now, "states": []})["states"].append(entry)
    _catch_up(before)
    record = {"time": now, "succeeded": not failed, "failed": failed, "pillar": fingerprint(__pillar__["saltern"])}
    _replace(path(), json.dumps(record | {"sls": before | sls}))


def _entry(state, before, failed):
    """What is kept of one state. Of one that failed no digest is taken: its files are not as they should be."""
    entry = {key: state[key] for key in ("id", "function", "name")}
    if state["function"] in REPLAYED:
        entry["arguments"] = state["arguments"]
    if state["function"] in FINGERPRINTED:
        known = {old["id"]: old for old in before.get(state["sls"], {}).get("states", [])}
        entry["files"] = known.get(state["id"], {}).get("files") if failed else _files(state["function"])
    return entry


def _catch_up(recorded):
    """Take the digests that could not be taken when these SLS were applied: the node was no member yet, now it is."""
    for sls in recorded.values():
        for state in sls["states"]:
            if state.get("files") == {}:
                state["files"] = _files(state["function"])


def _files(function):
    """``{path: {"content": digest, "user", "group", "mode"}}`` of the files that a state is about."""
    sandbox = Path(__salt__["sandbox.path"]())
    found = [str(file) for pattern in FINGERPRINTED[function] for file in sorted(sandbox.glob(pattern))]
    facts = {file: __salt__["config_file.facts"](file) for file in found}
    return {file: facts[file] | {"content": _digest(facts[file]["content"])} for file in found}


def _digest(value):
    return hashlib.sha256(str(value).encode()).hexdigest()[:16]


def fingerprint(pillar):
    """
    Give a digest of each part of a node's pillar; ``saltern/standing.py`` makes the same of the definition.

    pillar
        Mapping, ``pillar["saltern"]``.

    CLI Example:

    .. code-block:: bash

        salt-call --local last_apply.fingerprint '{os: {packages: []}}'
    """
    return {key: _digest(json.dumps(value, sort_keys=True)) for key, value in pillar.items()}


def drift():
    """
    Tell what is no longer as the last state run left it: ``[{"id", "sls", "time", "what": ["... instead of ..."]}]``.

    time: when that SLS was applied. Not seen: what no state of the run manages, objects of the cluster, and the states
    in UNSEEN.

    Raises CommandExecutionError when there is no record, or it is damaged.

    CLI Example:

    .. code-block:: bash

        salt '*' last_apply.drift
    """
    record = read()
    if record is None:
        raise CommandExecutionError(
            f"{__opts__['id']}: no state run is recorded on this node: salt {__opts__['id']} state.apply"
        )
    found = [(name, sls["time"], state) for name, sls in record["sls"].items() for state in sls["states"]]
    states = _states()
    return [
        {"id": state["id"], "sls": name, "time": time, "what": what}
        for name, time, state in found
        if (what := _looked_at(state, states))
    ]


def _states():
    """The states of this minion, in test mode."""
    # As a module sees it, __salt__ is a view that follows whoever looks through it; a loader needs what is behind it.
    functions = __salt__.value() if hasattr(__salt__, "value") else __salt__
    return salt.loader.states(dict(__opts__) | {"test": True}, functions, {}, {})


def _looked_at(state, states):
    """What one recorded state would change now, in words; [] for nothing."""
    if state["function"] == ENDPOINTS:
        return _misdirected()
    if state.get("files"):
        return _changed_files(state["files"], _files(state["function"]))
    if "arguments" not in state:
        return []
    try:
        ret = states[state["function"]](state["name"], **state["arguments"])
    except (KeyError, TypeError) as err:
        return [f"was applied by another version of {state['function']}, which could not look again ({err})"]
    # A state that cannot see what it looks for says so as a failure, and hides nothing that the others see.
    if ret["result"] is True:
        return []
    # A state of one file has its path as its name, and does not repeat it in its changes.
    place = f"{state['name']} " if state["name"].startswith("/") else ""
    told = in_words(ret["changes"]) or [_short(ret["comment"])]
    return [text if state["name"] in text else place + text for text in told]


def _changed_files(before, now):
    """Files that are missing, new, of another owner or mode, or that say something else than at the run's end."""
    missing = [f"{file} missing" for file in before if file not in now]
    new = [f"{file} new" for file in now if file not in before]
    both = [file for file in before if file in now]
    changed = [
        f"{file} content differs" if key == "content" else f"{file} {key} {now[file][key]} instead of {value}"
        for file in both
        for key, value in before[file].items()
        if now[file][key] != value
    ]
    return missing + new + changed


def _misdirected():
    wanted = __salt__["kubeconfig_endpoints.wanted"]()
    found = __salt__["kubeconfig_endpoints.found"]()
    return [f"{file} {url} instead of {wanted}" for file, url in found.items() if url != wanted]


def in_words(changes):
    """
    Say what a state in test mode would change: ``["vm.swappiness 60 instead of 10"]``.

    changes
        A state's changes: mappings, at whose leaves are "old" (what is) and "new" (what should be).

    CLI Example:

    .. code-block:: bash

        salt-call --local last_apply.in_words '{vm.swappiness: {old: "60", new: "10"}}'
    """
    return [text for what, change in changes.items() for text in _in_words(what, change)]


def _in_words(what, change):
    if not isinstance(change, dict):
        return [f"{what} {_short(change)}"]
    if set(change) != {"old", "new"}:
        return [text for key, inner in change.items() for text in _in_words(f"{what} {key}", inner)]
    old, new = change["old"], change["new"]
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in new if old.get(key) != new[key]]
        return [text for key in keys for text in _in_words(f"{what} {key}", {"old": old.get(key), "new": new[key]})]
    if old is None:
        return [f"{what} missing"]
    if new is None:
        return [f"{what} present"]
    if any(isinstance(value, str) and ("\n" in value or len(value) > SHOWN_CHARACTERS) for value in (old, new)):
        return [f"{what} differs"]
    return [f"{what} {_short(old)} instead of {_short(new)}"]


def _short(value):
    """A value on one line of bounded length."""
    line = " ".join(str(value).split())
    return line if len(line) <= 3 * SHOWN_CHARACTERS else f"{line[: 3 * SHOWN_CHARACTERS]} ..."


def _replace(target, text):
    """Write a file in one step, for root alone."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as sink:
        sink.write(text)
    temporary.replace(target)
