"""
Helm releases as the definition says: chart version and values.
"""

from salt.exceptions import CommandExecutionError


def deployed(name, namespace, chart, version, values, timeout_s=300):
    """
    Deploy a chart, or leave it alone when this version with these values is deployed already.

    name
        The release.

    namespace
        Its namespace, which exists.

    chart
        Path of the chart archive on this node.

    version
        The chart's version.

    values
        Mapping of the release's values.

    timeout_s
        Seconds for helm's own calls; whether pods run is another state's question (``kube.rolled_out``).

    .. code-block:: yaml

        cilium:
          helm_release.deployed:
            - namespace: kube-system
            - chart: /opt/sandbox/charts/cilium-1.20.1.tgz
            - version: 1.20.1
            - values: {kubeProxyReplacement: true}
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name} {version}: deployed with these values"}
    wanted = {"version": version, "status": "deployed", "values": values}
    try:
        before = __salt__["helm_release.get"](name, namespace)
        plan = differences(before, wanted)
        if not plan:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"{name}: would change {', '.join(plan)}"}
        if before and before["status"].startswith("pending-"):
            __salt__["helm_release.drop_pending"](name, namespace, before["revision"])
        failure = _attempt(name, namespace, chart, values, timeout_s)
        after = __salt__["helm_release.get"](name, namespace)
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": f"{name}: {err}"}
    ret["changes"] = differences(before, after) if after else {}
    left = differences(after, wanted)
    if failure or left:
        return ret | {"result": False, "comment": f"{name}: {failure or 'still differs in ' + ', '.join(left)}"}
    return ret | {"comment": f"{name} {version}: deployed, revision {after['revision']}"}


def absent(name, namespace, timeout_s=300):
    """
    Uninstall a release.

    name, namespace
        Which.

    timeout_s
        Seconds to wait until its objects are gone.

    .. code-block:: yaml

        metallb:
          helm_release.absent:
            - namespace: metallb-system
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name}: no such release"}
    try:
        before = __salt__["helm_release.get"](name, namespace)
        if before is None:
            return ret
        plan = {name: {"old": f"{before['version']} ({before['status']})", "new": None}}
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"{name}: would be uninstalled"}
        __salt__["helm_release.remove"](name, namespace, timeout_s)
        left = __salt__["helm_release.get"](name, namespace)
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": f"{name}: {err}"}
    if left:
        return ret | {"result": False, "comment": f"{name}: still there with status {left['status']}"}
    return ret | {"changes": plan, "comment": f"{name}: uninstalled"}


def differences(before, wanted):
    """
    Say what differs: ``{"version": {"old", "new"}, "values.operator.replicas": {...}}``, each value by its path.

    before
        What ``helm_release.get`` found, or None.

    wanted
        Mapping with version, status and values.
    """
    before = before or {"version": None, "status": None, "values": {}}
    changes = {
        key: {"old": before[key], "new": wanted[key]} for key in ("version", "status") if before[key] != wanted[key]
    }
    old, new = _flat(before["values"]), _flat(wanted["values"])
    for path in sorted(set(old) | set(new)):
        if old.get(path) != new.get(path):
            changes[f"values.{path}"] = {"old": old.get(path), "new": new.get(path)}
    return changes


def _flat(values, prefix=""):
    """``{"a": {"b": 1}}`` -> ``{"a.b": 1}``; a null means the chart's default, as if it were not there."""
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value
    return flat


def _attempt(name, namespace, chart, values, timeout_s):
    """The error text, or None. The release is read again either way: a failed one shows what did change."""
    try:
        __salt__["helm_release.deploy"](name, namespace, chart, values, timeout_s)
    except CommandExecutionError as err:
        return str(err)
    return None
