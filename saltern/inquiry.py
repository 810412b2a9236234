"""Ask every node at once how it stands, and wait no longer than a given time: a dead node must not hold up the others.

The scheduler (``saltern/job.py``) waits until it knows what became of each node; here silence is an answer too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from saltern.run import Master, Run
from saltern.steps import Returned

FUNCTION = "node_status.facts"
# A share of the time after which the cluster is asked for of another node than the one that should have told of it.
SECOND_CHANCE = 0.5
TICK_S = 0.2


@dataclass
class Answers:
    """What the nodes said.

    Attributes:
        facts: node -> what ``node_status.facts`` returned there.
        refused: node -> why it could not answer (the call itself failed there).
        silent: nodes that did not answer in time.
        keyless: nodes whose key the master has not accepted: they were not asked.
    """

    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    keyless: tuple[str, ...] = ()

    @property
    def cluster(self) -> dict[str, Any] | None:
        """What one control-plane node tells of the cluster; None when none could."""
        return next((facts["cluster"] for facts in self.facts.values() if "cluster" in facts), None)

    @property
    def members(self) -> list[dict[str, Any]] | None:
        """etcd's members as one of them tells; None when none could."""
        return next((facts["members"] for facts in self.facts.values() if "members" in facts), None)


def ask(run: Run, wait_s: float) -> Answers:
    """Ask all nodes of the table. Raises TransportError when no master listens.

    Args:
        run: gives the table, the way to the nodes and the clock.
        wait_s: seconds after which nobody is waited for any more.

    The leader of etcd looks at the cluster too. When it could not, or has said nothing in half of the time, another
    control-plane node that has answered is asked to.
    """
    began, inquiry = run.clock(), _Inquiry(run.master, run.table.all, run.table.control_plane)
    while not inquiry.complete and (left_s := began + wait_s - run.clock()) > 0:
        inquiry.listen(min(TICK_S, left_s))
        inquiry.look_for_another(late=run.clock() - began >= wait_s * SECOND_CHANCE)
    return inquiry.answers()


class _Inquiry:
    """The questions under way."""

    def __init__(self, master: Master, nodes: tuple[str, ...], control_plane: tuple[str, ...]) -> None:
        self._master, self._nodes, self._control_plane = master, nodes, control_plane
        self._told = Answers()
        published = master.publish(nodes, FUNCTION, [], {})
        self._expected = published.expected
        # Who is waited for, by job.
        self._open = {published.jid: set(published.expected)}
        self._asked_for_cluster: set[str] = set()

    @property
    def complete(self) -> bool:
        """Whether everybody has answered and the cluster is known, or nobody is left to ask for it."""
        return not any(self._open.values()) and (self._cluster_known or not self._next())

    @property
    def _cluster_known(self) -> bool:
        return self._told.cluster is not None and self._told.members is not None

    def _next(self) -> str | None:
        """A control-plane node that has answered, was not asked for the cluster yet, and has not failed to tell."""
        able = (n for n in self._control_plane if n in self._told.facts and n not in self._asked_for_cluster)
        return next((node for node in able if not {"cluster", "members"} & set(self._told.facts[node]["errors"])), None)

    def look_for_another(self, late: bool) -> None:
        """Have another control-plane node look at the cluster, if nobody has told of it, is at it or will be soon."""
        node = self._next()
        hope = not late and any(waited & set(self._control_plane) for waited in self._open.values())
        at_it = any(self._asked_for_cluster & waited for waited in self._open.values())
        if self._cluster_known or node is None or hope or at_it:
            return
        self._asked_for_cluster.add(node)
        published = self._master.publish([node], FUNCTION, [], {"cluster": True})
        self._open[published.jid] = set(published.expected)

    def listen(self, timeout_s: float) -> None:
        """Take what nodes say, for at most ``timeout_s``."""
        for event in self._master.events(timeout_s):
            if isinstance(event, Returned) and event.node in self._open.get(event.jid, ()):
                self._open[event.jid].discard(event.node)
                self._take(event)

    def _take(self, event: Returned) -> None:
        if not event.ok or not isinstance(event.value, Mapping):
            self._told.refused.setdefault(event.node, str(event.value))
            return
        # A second answer of a node has all of the first one, and the cluster.
        self._told.facts[event.node] = dict(event.value)

    def answers(self) -> Answers:
        """What was said until now, in table order."""
        heard = {*self._told.facts, *self._told.refused}
        self._told.facts = {node: self._told.facts[node] for node in self._nodes if node in self._told.facts}
        self._told.silent = tuple(node for node in self._nodes if node in self._expected and node not in heard)
        self._told.keyless = tuple(node for node in self._nodes if node not in self._expected)
        return self._told
