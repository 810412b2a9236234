"""
The kubeconfigs of a node: which API server they name, and the administrator's in the operator's home. Their content is
a key: no change ever shows it.
"""

from salt.exceptions import CommandExecutionError

# What happens to who uses a changed file. One that does not run (it failed by the very file) is not restarted: it reads
# the file when the kubelet starts it next. Which of both is a matter of seconds, and the same to the operator.
READ_ANEW = {"old": "by the file before", "new": "by the file as it is now"}


def installed(name, user, group, backups):
    """
    This file is the node's admin.conf: mode 0600, its directory 0700, both the user's. Before the node is a
    control-plane node there is nothing to install, and that is said.

    name
        Path, ``~/.kube/config`` of the operator.

    user, group
        Owner.

    backups
        Directories for a kubeconfig that was there before.

    .. code-block:: yaml

        /home/k8s/.kube/config:
          kubeconfig.installed:
            - user: k8s
            - group: k8s
            - backups: [/var/backups/saltern]
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name}: is the cluster's, {user}'s alone"}
    try:
        wanted = __salt__["operator_kubeconfig.wanted"](user, group)
        if wanted is None:
            return ret | {"comment": f"{name}: no admin.conf on this node yet, nothing to install"}
        plan = _differences(__salt__["operator_kubeconfig.found"](name), wanted)
        if not plan:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"{name}: would change {', '.join(plan)}"}
        __salt__["original.keep"](name, backups)
        __salt__["operator_kubeconfig.install"](name, user, group)
        left = _differences(__salt__["operator_kubeconfig.found"](name), wanted)
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": f"{name}: {err}"}
    ret["changes"] = {what: change for what, change in plan.items() if what not in left}
    if left:
        return ret | {"result": False, "comment": f"{name}: still differs in {', '.join(left)}"}
    return ret | {"comment": f"{name}: installed"}


def endpoints(name):
    """
    Every kubeconfig in /etc/kubernetes names the cluster's endpoint, the load balancer. What uses a file that changes
    (kubelet, controller manager, scheduler) is restarted, nothing else, and on one control-plane node at a time. On a
    node that is no member there is none.

    name
        For people.

    .. code-block:: yaml

        Every kubeconfig names the load balancer:
          kubeconfig.endpoints: []
    """
    ret = {"name": name, "result": True, "changes": {}}
    failure, restarted = None, []
    try:
        hindrance = __salt__["kubeadm.hands_off"]()
        if hindrance:
            return ret | hindrance
        wanted, before = __salt__["kubeconfig_endpoints.wanted"](), __salt__["kubeconfig_endpoints.found"]()
        wrong = _misdirected(before, wanted)
        due = __salt__["kubeconfig_endpoints.due"](list(wrong))
        if not wrong and not due:
            return ret | {"comment": f"{name}: {len(before)} kubeconfigs name {wanted}"}
        if __opts__["test"]:
            restarts = dict.fromkeys(due, READ_ANEW)
            comment = f"{name}: would point {_names(wrong)} at {wanted} and restart {_names(due)}"
            return ret | {"result": None, "changes": wrong | restarts, "comment": comment}
        try:
            restarted = _point_all(list(wrong), due)
        except CommandExecutionError as err:
            failure = str(err)
        after = __salt__["kubeconfig_endpoints.found"]()
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": f"{name}: {err}"}
    left = _misdirected(after, wanted)
    ret["changes"] = {path: change for path, change in wrong.items() if path not in left}
    ret["changes"] |= dict.fromkeys(restarted if failure else due, READ_ANEW)
    if failure or left:
        return ret | {"result": False, "comment": f"{name}: {failure or 'still elsewhere: ' + _names(left)}"}
    return ret | {"comment": f"{name}: pointed {_names(wrong)} at {wanted}, restarted {_names(restarted)}"}


def absent(name, backups):
    """
    This file is no kubeconfig of this cluster: what the operator had there before is back, or nothing.

    name
        Path.

    backups
        Directories in which :func:`installed` kept what was there.

    .. code-block:: yaml

        /home/k8s/.kube/config:
          kubeconfig.absent:
            - backups: [/var/backups/saltern]
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name}: none of Saltern"}
    try:
        kept = __salt__["original.kept"](name, backups)
        if not kept:
            return ret
        back = None if kept.endswith(".absent") else "as before"
        plan = {name: {"old": "the cluster's", "new": back}}
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"{name}: would be {back or 'removed'}"}
        __salt__["original.restore"](name, backups)
    except (CommandExecutionError, OSError) as err:
        return ret | {"result": False, "comment": f"{name}: {err}"}
    return ret | {"changes": plan, "comment": f"{name}: {back or 'removed'}"}


def _differences(found, wanted):
    """``{"mode": {"old", "new"}}``; the content, a digest, is only said to differ."""
    changes = {key: {"old": found[key], "new": wanted[key]} for key in wanted if found[key] != wanted[key]}
    if "content" in changes:
        changes["content"] = {"old": "another" if found["content"] else None, "new": "this cluster's (not shown)"}
    return changes


def _point_all(paths, due):
    """Point them, in turn with the other control-plane nodes if something is restarted by it. Returns what was."""

    def act():
        return __salt__["kubeconfig_endpoints.point_all"](paths)

    return __salt__["turn.during"](f"restart of {_names(due)}", act) if due else act()


def _misdirected(servers, wanted):
    """``{path: {"old": URL, "new": URL}}`` of the kubeconfigs that name another server."""
    return {path: {"old": url, "new": wanted} for path, url in servers.items() if url != wanted}


def _names(paths):
    return ", ".join(path.rpartition("/")[2] for path in paths) or "nothing"
