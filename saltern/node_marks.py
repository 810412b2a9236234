"""Labels and taints of the Kubernetes nodes: their role's, and those of their row in the table."""

from __future__ import annotations

from typing import Any

from saltern.kubeadm import CONTROL_PLANE_TAINT
from saltern.model import Cluster
from saltern.parts import Node

# What kubeadm gives a control-plane node (kubeadm 1.36: phases/markcontrolplane).
CONTROL_PLANE_LABELS = {
    "node-role.kubernetes.io/control-plane": "",
    "node.kubernetes.io/exclude-from-external-load-balancers": "",
}


def build(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """The part ``marks`` of a control-plane node's pillar.

    Returns:
        ``{node: {"labels": {key: value}, "taints": [{"key", "value", "effect"}]}}``, of the nodes that have any: a
        further worker is no change for anybody.
    """
    found = {node.name: {"labels": labels(node), "taints": taints(node)} for node in cluster.kubernetes_nodes}
    return {name: marks for name, marks in found.items() if marks["labels"] or marks["taints"]}


def labels(node: Node) -> dict[str, str]:
    """The labels that a node has to have."""
    role = CONTROL_PLANE_LABELS if node.role == "control_plane" else {}
    return {**role, **node.labels}


def taints(node: Node) -> list[dict[str, str]]:
    """The taints that a node has to have, each once; the row's has the last word."""
    role = [{"value": "", **CONTROL_PLANE_TAINT}] if node.role == "control_plane" else []
    rows = [*role, *(parse_taint(text) for text in node.taints)]
    return list({(taint["key"], taint["effect"]): taint for taint in rows}.values())


def parse_taint(text: str) -> dict[str, str]:
    """A taint as kubectl writes it.

    >>> parse_taint("dedicated=db:NoSchedule")
    {'key': 'dedicated', 'value': 'db', 'effect': 'NoSchedule'}
    >>> parse_taint("dedicated:NoExecute")
    {'key': 'dedicated', 'value': '', 'effect': 'NoExecute'}
    """
    mark, _colon, effect = text.rpartition(":")
    key, _equals, value = mark.partition("=")
    return {"key": key, "value": value, "effect": effect}
