"""What an operator reads before nodes are restarted. Data in, text out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from saltern import plan_restart, removal_report
from saltern.plan_remove import quorum
from saltern.plan_restart import Picture, Progress, Request


def plan(
    cluster: str, picture: Picture, request: Request, progress: Progress, order: Sequence[tuple[str, ...]]
) -> str:
    """Who is restarted with whom, what moves and is lost, and what to type.

    Args:
        cluster: its name.
        picture: what is known of the nodes that are to be restarted.
        request: what was asked for.
        progress: what an earlier run has done of it.
        order: the batches that are left.
    """
    names = [name for batch in order for name in batch]
    awaited = [name for name in names if name not in picture.names]
    parts = {
        "what restarts": [_batch(picture, request, batch, awaited) for batch in order],
        "what moves": [
            line for name in picture.names for line in removal_report.moving(name, picture.standing.get(name, {}))
        ],
        "what is lost": [
            line for name in picture.names for line in removal_report.scratched(name, picture.standing.get(name, {}))
        ],
        "what to know": [*_earlier(progress), *_meanwhile(picture)],
    }
    head = f"Restart in {cluster}: {', '.join(names) or 'nothing is left to do'}"
    return removal_report.assembled(head, parts, "orchestrate.node_restart", request)


def _batch(picture: Picture, request: Request, batch: Sequence[str], awaited: Sequence[str]) -> str:
    role = plan_restart.role_of(picture.table, batch[0]).replace("_", " ")
    if batch[0] in awaited:
        return f"{', '.join(batch)} ({role}): was restarted already, and is only waited for"
    before = "packages upgraded, then " if request.upgrade else ""
    together = " together" if len(batch) > 1 else ""
    return f"{', '.join(batch)} ({role}): {before}restarted{together}"


def _earlier(progress: Progress) -> Iterator[str]:
    """What is not done again, and how to have it done again."""
    if progress.since:
        yield f'goes on with what was begun at {progress.since}; to begin anew: add "anew": true'
        if progress.done:
            yield f"restarted since then, and left alone: {', '.join(progress.done)}"


def _meanwhile(picture: Picture) -> Iterator[str]:
    """What the cluster bears less while a node is away."""
    voting = sum(not member["learner"] for member in picture.members)
    if picture.control_plane and voting > 1:
        bears = voting - 1 - quorum(voting)
        yield f"etcd has {voting - 1} of {voting} members while one restarts, of which {bears} may fail"
    for name in picture.names:
        if text := plan_restart.cost(picture.table, name):
            yield f"{name}: {text}"
        if picture.standing.get(name, {}).get("unschedulable"):
            yield f"{name}: is cordoned; it stays so unless a run of ours left it"
