"""What an operator reads before nodes are replaced. Data in, text out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from saltern import removal_report
from saltern.model import Cluster
from saltern.parts import Node
from saltern.plan_remove import Picture, quorum
from saltern.plan_replace import Progress, Request, cost_of_only


def plan(cluster: Cluster, picture: Picture, request: Request, progress: Progress, order: Sequence[str]) -> str:
    """What goes, moves, is lost and comes, in which order, and what to type.

    Args:
        cluster: the definition.
        picture: what is known of the nodes whose machines are to go.
        request: what was asked for.
        progress: what an earlier run has done of it.
        order: what is left to do, in order.
    """
    parts = removal_report.going(picture)
    parts |= {
        "what comes": [_coming(cluster.nodes[name]) for name in order],
        "what to know": [*_earlier(progress, order), *_meanwhile(picture)],
    }
    head = f"Replacement in {cluster.name}, one after the other: {', '.join(order) or 'nothing is left to do'}"
    return removal_report.assembled(head, parts, "orchestrate.node_replace", request)


def _coming(row: Node) -> str:
    size = f"{row.cpus} CPUs, {row.memory_gib} GiB memory, {row.disk_gib} GiB disk"
    return f"{row.name} ({row.role.replace('_', ' ')}, {row.address}): a new machine of its row, {size}"


def _earlier(progress: Progress, order: Sequence[str]) -> Iterator[str]:
    """What is not done again, and how to have it done again."""
    if not progress.since:
        return
    yield f'goes on with what was begun at {progress.since}; to begin anew: add "anew": true'
    if progress.done:
        yield f"replaced since then, and left alone: {', '.join(progress.done)}"


def _meanwhile(picture: Picture) -> Iterator[str]:
    """What the cluster bears less while a node is away, and what a new machine does not inherit."""
    voting = sum(not member["learner"] for member in picture.members)
    if picture.control_plane and voting > 1:
        bears = voting - 1 - quorum(voting - 1)
        yield f"etcd has {voting - 1} of {voting} members while one is away, of which {bears} may fail"
    for node in picture.leaving:
        if picture.table.of_role(node.role) == (node.name,):
            yield f"{node.name}: {cost_of_only(node)}"
        if node.facts.get("unschedulable"):
            yield f"{node.name}: is cordoned; the new one takes pods"
