"""
Labels and taints of the cluster's nodes as the definition says.
"""

from salt.exceptions import CommandExecutionError


def as_defined(name, nodes):
    """
    Every node that has joined has the labels and taints of its role and its row; others' labels and taints stay.

    name
        For people.

    nodes
        ``pillar["saltern"]["marks"]``.

    Changes: ``{node: {"label KEY" | "taint KEY:EFFECT": {"old": value or None, "new": value or None}}}``.

    .. code-block:: yaml

        The nodes have their labels and taints:
          node_marks.as_defined:
            - nodes: {{ pillar.saltern.marks | json }}
    """
    return _settle(name, nodes)


def absent(name, nodes):
    """
    Every node has the labels and taints of its role alone; what the definition's rows gave it is gone.

    name
        For people.

    nodes
        ``pillar["saltern"]["marks"]``.

    .. code-block:: yaml

        The nodes have their roles' labels and taints alone:
          node_marks.absent:
            - nodes: {{ pillar.saltern.marks | json }}
    """
    return _settle(name, __salt__["node_marks.of_roles"](nodes))


def _settle(name, nodes):
    """Compare, act, compare again."""
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name}: as defined"}
    try:
        plan = __salt__["node_marks.differences"](nodes)
        if not plan:
            return ret
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"{name}: would change {', '.join(plan)}"}
        __salt__["node_marks.settle"](nodes)
        left = __salt__["node_marks.differences"](nodes)
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": f"{name}: {err}"}
    ret["changes"] = {node: change for node, change in plan.items() if node not in left}
    if left:
        return ret | {"result": False, "comment": f"{name}: still different: {', '.join(left)}"}
    return ret | {"comment": f"{name}: changed {', '.join(plan)}"}
