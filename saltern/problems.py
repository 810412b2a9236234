"""What a rule finds, and the definition that rules look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from saltern.model import Cluster

Key = tuple[str, ...]
STAND_IN = "stand-in"  # names what schema.py put in place of a broken part: no rule speaks about it


@dataclass(frozen=True)
class Problem:
    """What a rule found.

    Attributes:
        key: the key in the merged data, e.g. ("nodes", "saw-k8s-w-01", "address").
        rule: what it breaks.
        remedy: what to write instead.
        value: what is written there; "" to show nothing.
        reads: other keys that the rule looked at: when one of those is broken, the problem is not reported.
        warning: doubtful, not wrong.
        code: the runbook of its kind; :mod:`saltern.rules` gives the rules' problems theirs.
    """

    key: Key
    rule: str
    remedy: str
    value: object = ""
    reads: tuple[Key, ...] = ()
    warning: bool = False
    code: str = "definition-key"


@dataclass(frozen=True)
class Draft:
    """A definition under test: the model of its right parts, the data as written, and the keys that are broken."""

    cluster: Cluster
    data: dict[str, Any] = field(default_factory=dict)
    broken: tuple[Key, ...] = ()

    def roles(self) -> dict[str, object]:
        """The role of each row as written, also of rows that are wrong elsewhere."""
        rows = self.data.get("nodes")
        named = rows.items() if isinstance(rows, dict) else ()
        return {name: row.get("role") for name, row in named if isinstance(row, dict)}

    def count(self, role: str) -> int:
        """How many rows have a role."""
        return sum(found == role for found in self.roles().values())

    def reads_roles(self) -> tuple[Key, ...]:
        """What a rule about the number of nodes looks at."""
        return (("nodes",), *(("nodes", name, "role") for name in self.data.get("nodes") or ()))

    def concerns(self, problem: Problem) -> bool:
        """Whether a problem is about what is written, not about a stand-in or what follows from a broken part."""
        keys = (problem.key, *problem.reads)
        if any(STAND_IN in key for key in keys):
            return False
        return not any(key[: len(broken)] == broken for key in keys for broken in self.broken)


Rule = Callable[[Draft], Iterator[Problem]]


def node_key(name: str, field_name: str) -> Key:
    """The key of a row's field."""
    return ("nodes", name, field_name)
