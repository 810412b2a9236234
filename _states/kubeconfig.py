"""
The administrator's kubeconfig in the operator's home. Its content is a key: no change ever shows it.
"""

from salt.exceptions import CommandExecutionError


def installed(name, user, group):
    """
    This file is the node's admin.conf: mode 0600, its directory 0700, both the user's. Before the node is a
    control-plane node there is nothing to install, and that is said.

    name
        Path, ``~/.kube/config`` of the operator.

    user, group
        Owner.

    .. code-block:: yaml

        /home/k8s/.kube/config:
          kubeconfig.installed:
            - user: k8s
            - group: k8s
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
        __salt__["operator_kubeconfig.install"](name, user, group)
        left = _differences(__salt__["operator_kubeconfig.found"](name), wanted)
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": f"{name}: {err}"}
    ret["changes"] = {what: change for what, change in plan.items() if what not in left}
    if left:
        return ret | {"result": False, "comment": f"{name}: still differs in {', '.join(left)}"}
    return ret | {"comment": f"{name}: installed"}


def absent(name):
    """
    This file is gone.

    name
        Path.

    .. code-block:: yaml

        /home/k8s/.kube/config:
          kubeconfig.absent: []
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name}: not there"}
    if not __salt__["operator_kubeconfig.found"](name)["content"]:
        return ret
    plan = {name: {"old": "present", "new": None}}
    if __opts__["test"]:
        return ret | {"result": None, "changes": plan, "comment": f"{name}: would be removed"}
    __salt__["operator_kubeconfig.remove"](name)
    return ret | {"changes": plan, "comment": f"{name}: removed"}


def _differences(found, wanted):
    """``{"mode": {"old", "new"}}``; the content, a digest, is only said to differ."""
    changes = {key: {"old": found[key], "new": wanted[key]} for key in wanted if found[key] != wanted[key]}
    if "content" in changes:
        changes["content"] = {"old": "another" if found["content"] else None, "new": "this cluster's (not shown)"}
    return changes
