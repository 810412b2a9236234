"""
Labels and taints of the cluster's nodes: what differs from the definition, and the change.

Ours are the keys of the definition, whatever node they are on, and those that an earlier definition had: an annotation
of the node remembers these. All other labels and taints (of Kubernetes, of an add-on, an operator's cordon) are left
alone. So is a node's exclusion from load balancers, unless its own role or row has it: like a cordon it is somebody's
who takes the node out for a while (:mod:`kube_node`, or an operator).
"""

import json

from salt.exceptions import CommandExecutionError

# Keys that this node had by a row of the table; those of a role are known anyway.
ANNOTATION = "saltern/marks"
NONE = {"labels": {}, "taints": []}
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
ROLES = ("node-role.kubernetes.io/", "node.kubernetes.io/")


def differences(wanted):
    """
    Say what differs: ``{node: {"label KEY" | "taint KEY:EFFECT": {"old": value or None, "new": value or None}}}``.

    wanted
        ``{node: {"labels": {}, "taints": [{"key", "value", "effect"}]}}``, of those that have any. A node that has not
        joined yet is left out.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 node_marks.differences '{"saw-k8s-w-01": {"labels": {"example.com/a": "b"}, "taints": []}}'
    """
    found = {node: _difference(present, wanted) for node, present in _present().items()}
    return {node: changes for node, changes in found.items() if changes}


def settle(wanted):
    """
    Give nodes their labels and taints; what is right already is left alone.

    wanted
        As for :func:`differences`.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 node_marks.settle '{"saw-k8s-w-01": {"labels": {"example.com/a": "b"}, "taints": []}}'
    """
    for node, present in _present().items():
        if _difference(present, wanted):
            _patch(node, patch(present, wanted.get(node, NONE), _ours(present, wanted)))


def of_roles(wanted):
    """
    Give the labels and taints that Kubernetes itself knows: what is left without the rows of the table.

    wanted
        As for :func:`differences`.

    CLI Example:

    .. code-block:: bash

        salt-call --local node_marks.of_roles '{"m-01": {"labels": {"example.com/a": "b"}, "taints": []}}'
    """
    return {
        node: {
            "labels": {key: value for key, value in own["labels"].items() if key.startswith(ROLES)},
            "taints": [taint for taint in own["taints"] if taint["key"].startswith(ROLES)],
        }
        for node, own in wanted.items()
    }


def patch(present, own, ours):
    """
    Build the merge patch that gives a Node object its labels and taints.

    present
        The object.

    own
        ``{"labels", "taints"}`` that it is to have.

    ours
        Which marks are ours, as :func:`_ours` says.

    CLI Example:

    .. code-block:: bash

        salt-call --local node_marks.patch '{"metadata": {}, "spec": {}}' '{"labels": {}, "taints": []}' '...'
    """
    labels = {key: own["labels"].get(key) for key in ours["labels"]}
    there = present["spec"].get("taints") or []
    kept = [taint for taint in there if _identity(taint) not in ours["taints"]]
    still = {_identity(taint): taint for taint in there}
    # A taint that is right keeps what else it says (timeAdded).
    mine = [
        still[_identity(taint)] if _value(still.get(_identity(taint))) == taint["value"] else _plain(taint)
        for taint in own["taints"]
    ]
    remembered = {"labels": sorted(own["labels"]), "taints": sorted(_identity(taint) for taint in own["taints"])}
    return {
        # The list of taints is replaced as a whole: not over one that somebody has just changed.
        "metadata": {
            "resourceVersion": present["metadata"].get("resourceVersion"),
            "labels": labels,
            "annotations": {ANNOTATION: json.dumps(remembered)},
        },
        "spec": {"taints": [*kept, *mine]},
    }


def _present():
    """The Node objects by name."""
    return {item["metadata"]["name"]: item for item in __salt__["kube.get"]("nodes")}


def _ours(present, wanted):
    """Which labels and taints are ours: those of any row, and those that this node had by an earlier definition."""
    remembered = json.loads(present["metadata"].get("annotations", {}).get(ANNOTATION, "{}"))
    own, rows = wanted.get(present["metadata"]["name"], NONE), wanted.values()
    labels = {key for row in rows for key in row["labels"] if key != EXCLUDED}
    labels |= {*own["labels"], *remembered.get("labels", [])}
    taints = {_identity(taint) for row in rows for taint in row["taints"]} | set(remembered.get("taints", []))
    return {"labels": sorted(labels), "taints": sorted(taints)}


def _difference(present, wanted):
    """What differs on one node."""
    own, ours = wanted.get(present["metadata"]["name"], NONE), _ours(present, wanted)
    labels = present["metadata"].get("labels", {})
    taints = {_identity(taint): _value(taint) for taint in present["spec"].get("taints") or []}
    mine = {_identity(taint): taint["value"] for taint in own["taints"]}
    pairs = {f"label {key}": (labels.get(key), own["labels"].get(key)) for key in ours["labels"]}
    pairs |= {f"taint {key}": (taints.get(key), mine.get(key)) for key in ours["taints"]}
    return {what: {"old": old, "new": new} for what, (old, new) in pairs.items() if old != new}


def _patch(node, document):
    """Send a patch; one that another change was faster than is made anew by the next run."""
    args = ["patch", "node", node, "--type=merge", f"--patch={json.dumps(document)}"]
    answer = __salt__["sandbox.run"]("kubectl", args)
    if answer["retcode"]:
        raise CommandExecutionError(
            f"{__opts__['id']}: kubectl patch node {node}: {__salt__['kube.complaint'](answer['stderr'])}"
        )


def _identity(taint):
    """Two taints of the same key and effect are one."""
    return f"{taint['key']}:{taint['effect']}"


def _value(taint):
    """The value of a taint, None for no taint."""
    return None if taint is None else taint.get("value", "")


def _plain(taint):
    """A taint as the API has it: no value instead of an empty one."""
    return {key: value for key, value in taint.items() if value}
