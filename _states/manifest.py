"""
Kubernetes objects as the definition says.
"""

from salt.exceptions import CommandExecutionError


def applied(name, objects, webhook_deadline_s=150):
    """
    Apply objects to the cluster, from this control-plane node.

    name
        What they are, for people.

    objects
        List of Kubernetes objects, in the order to apply.

    webhook_deadline_s
        Seconds to go on while a validating webhook is not up yet.

    .. code-block:: yaml

        Address pools:
          manifest.applied:
            - objects: {{ pillar.saltern.charts.metallb.manifests | json }}
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name}: {len(objects)} objects as defined"}
    try:
        plan = __salt__["manifest.differences"](objects, webhook_deadline_s)
        if not plan:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"{name}: would change {', '.join(plan)}"}
        __salt__["manifest.apply"](objects, webhook_deadline_s)
        left = __salt__["manifest.differences"](objects, webhook_deadline_s)
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": f"{name}: {err}"}
    ret["changes"] = {title: change for title, change in plan.items() if title not in left}
    if left:
        return ret | {"result": False, "comment": f"{name}: still different after the apply: {', '.join(left)}"}
    return ret | {"comment": f"{name}: changed {', '.join(plan)}"}


def absent(name, objects, timeout_s=120):
    """
    Delete objects from the cluster, the last first.

    name
        What they are, for people.

    objects
        List of Kubernetes objects (kind, apiVersion and metadata suffice).

    timeout_s
        Seconds to wait for finalizers.

    .. code-block:: yaml

        No address pools:
          manifest.absent:
            - objects: {{ pillar.saltern.charts.metallb.manifests | json }}
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name}: none of them there"}
    try:
        present = sorted(__salt__["manifest.existing"](objects))
        plan = {title: {"old": "present", "new": None} for title in present}
        if not plan:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"{name}: would delete {', '.join(plan)}"}
        __salt__["manifest.delete"](objects, timeout_s)
        left = __salt__["manifest.existing"](objects)
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": f"{name}: {err}"}
    ret["changes"] = {title: change for title, change in plan.items() if title not in left}
    if left:
        return ret | {"result": False, "comment": f"{name}: still there: {', '.join(sorted(left))}"}
    return ret | {"comment": f"{name}: deleted {', '.join(plan)}"}
