"""What an operator reads before nodes leave, and after. Data in, text out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from saltern.plan import CONTROL_PLANE
from saltern.plan_remove import NONE, OWN, WRITTEN, Leaving, Picture, Request, example, quorum

INDENT = "  "


class Asked(Protocol):
    """What was asked for, as the last line of a plan needs it."""

    @property
    def confirmed(self) -> bool:
        """Whether it is done, and not only planned."""

    def pillar(self, **more: Any) -> dict[str, Any]:
        """The pillar by which it is asked for again."""


def plan(cluster: str, picture: Picture, request: Request) -> str:
    """What goes, what moves, what is lost, what stays, and what to type.

    Args:
        cluster: its name.
        picture: what is known of the nodes.
        request: what was asked for.
    """
    parts = going(picture) | {"what to know": [*_tolerance(picture), *rows_left(picture)]}
    head = f"Removal of {', '.join(picture.names)} from {cluster}:"
    return assembled(head, parts, "orchestrate.node_remove", request)


def going(picture: Picture) -> dict[str, list[str]]:
    """What goes, moves and is lost when nodes leave: {title: lines}."""
    return {
        "what goes": list(_going(picture)),
        "what moves": list(_moving(picture)),
        "what is lost": list(_lost(picture)),
    }


def assembled(head: str, parts: Mapping[str, Sequence[str]], orchestration: str, request: Asked) -> str:
    """The text of a plan: its head, each part that has lines, and what to type unless that was typed already."""
    text = [head]
    for title, lines in parts.items():
        text += [f"{title}:", *(f"{INDENT}{line}" for line in lines)] if lines else []
    if not request.confirmed:
        again = f"salt-run state.orchestrate {orchestration} {example(request.pillar(confirm=True))}"
        text.append(f"Nothing was changed. To do it: {again}")
    return "\n".join(text)


def _going(picture: Picture) -> Iterator[str]:
    members = {member["name"] for member in picture.members}
    for node in picture.leaving:
        machine = f"machine {node.machine['id']} with its disks" if node.machine else "no machine (Proxmox has none)"
        parts = [f"{node.name} ({node.role.replace('_', ' ')}{_address(node)}): {machine}", "minion key"]
        parts += [f"Node ({_state(node)})"] if node.registered else []
        parts += ["etcd member"] if node.name in members else []
        yield ", ".join(parts)
        if node.left:
            yield left_line(node.name, node.left)
        if node.row == WRITTEN:
            yield f"its row, which the product wrote: {node.row_at}"
    for balancer in picture.balancers:
        yield f"{balancer}: servers {', '.join(picture.names)} of HAProxy's backends"


def left_line(name: str, left: Sequence[str]) -> str:
    """What an unfinished create has left of a name, and goes with it."""
    return f"{name}: what an unfinished create left: {', '.join(left)}"


def _address(node: Leaving) -> str:
    return f", {node.address}" if node.address else ""


def _state(node: Leaving) -> str:
    ready = "Ready" if node.facts["ready"] else "not Ready"
    return f"{ready}, cordoned already" if node.facts["unschedulable"] else ready


def _moving(picture: Picture) -> Iterator[str]:
    for node in picture.leaving:
        if not node.dead:
            yield from moving(node.name, node.facts)


def moving(name: str, facts: Mapping[str, Any]) -> Iterator[str]:
    """What a drain moves: one line per namespace and owner, and what a disruption budget holds now."""
    pods = facts.get("moves", [])
    counted = Counter((pod["namespace"], pod["owner"], pod["held"]) for pod in pods)
    for (namespace, owner, held), count in sorted(counted.items(), key=str):
        waits = f", waits for {held}" if held else ""
        yield f"{name}: {namespace}: {owner}, {_pods(count)}{waits}"


def scratched(name: str, facts: Mapping[str, Any]) -> Iterator[str]:
    """The volumes that go with the pods that a drain moves."""
    scratch = [f"{pod['namespace']}/{pod['name']}" for pod in facts.get("moves", []) if pod["empty_dir"]]
    if scratch:
        yield f"{name}: emptyDir volumes of {', '.join(scratch)}"


def _lost(picture: Picture) -> Iterator[str]:
    for node in picture.leaving:
        yield from (f"{node.name}: persistent volume {volume}" for volume in node.facts.get("volumes", []))
        yield from scratched(node.name, node.facts)
        pods = node.facts.get("moves", [])
        if node.dead and (pods or node.facts["alone"]):
            count = _pods(len(pods) + len(node.facts["alone"]))
            yield f"{node.name}: does not run: its {count} end without notice; controllers make theirs anew elsewhere"


def _pods(count: int) -> str:
    return f"{count} pod" if count == 1 else f"{count} pods"


def _tolerance(picture: Picture) -> Iterator[str]:
    """How many control-plane nodes may fail afterwards, when one leaves."""
    going = {node.name for node in picture.leaving if node.role == CONTROL_PLANE}
    left = sum(not member["learner"] and member["name"] not in going for member in picture.members)
    if going and left:
        bears = left - quorum(left)
        text = f"etcd keeps {left} members, of which {bears} may fail"
        yield text if left % 2 else f"{text}: no more than with {left - 1}; a table has 1, 3 or 5"


def rows_left(picture: Picture) -> list[str]:
    """The rows that are the operator's to delete: what the table has, the next orchestrate.cluster makes again."""
    own = [node for node in picture.leaving if node.row == OWN]
    lines = [f"{node.name}: its row is yours, and stays: {node.row_at}" for node in own]
    if own:
        lines.append("delete such a row, or the next orchestrate.cluster makes the node again")
    gone = [node.name for node in picture.leaving if node.row == NONE]
    return lines + ([f"no row of the table: {', '.join(gone)}"] if gone else [])
