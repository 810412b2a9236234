"""What a job is made of: calls, steps, what nodes answer, what goes wrong, and the way to the nodes.

Plain data and one protocol; ``saltern/job.py`` runs it, ``saltern/plan.py`` makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal, Protocol

from saltern import runbooks


class TransportError(Exception):
    """The call could not be published (no master, no key): text says what and what to type."""

    codes = ("salt-master-lost",)


class StepError(Exception):
    """A step cannot make its call from what the steps before it found: text says what is missing."""

    codes = ("call-failed",)


@dataclass(frozen=True)
class Returned:
    """A node's final answer to a call. ``ok`` is false when the node itself says that the call failed."""

    jid: str
    node: str
    value: Any
    ok: bool = True


@dataclass(frozen=True)
class Progressed:
    """A node finished one state of a call: ``number`` (1-based) of ``total``."""

    jid: str
    node: str
    state_id: str
    number: int
    total: int


Event = Returned | Progressed


@dataclass(frozen=True)
class Published:
    """What a transport says about a call it sent: its job ID, and the nodes that will hear it."""

    jid: str
    expected: frozenset[str]


class Transport(Protocol):
    """The way to the nodes. Events of a call may arrive as soon as ``publish`` is entered; none may be lost."""

    def publish(self, targets: Sequence[str], function: str, arg: Sequence[Any], kwarg: Mapping[str, Any]) -> Published:
        """Send one call to the targets. Raises TransportError."""

    def events(self, timeout_s: float) -> Iterable[Event]:
        """Wait at most ``timeout_s`` for a first event; hand over all that are there."""

    def ask_running(self, jid: str, targets: Sequence[str]) -> Published:
        """Ask the targets whether they still run a job: each answers by a Returned whose value is empty if not."""


@dataclass(frozen=True)
class Call:
    """A function of the nodes with its arguments."""

    function: str
    arg: tuple[Any, ...] = ()
    kwarg: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """One thing that went wrong: on which node, in which step, why, and what to type next.

    ``state_id`` is the failed state when a state failed. ``node`` is empty when no single node is to blame.
    ``code`` is the problem's short, stable name, which its runbook bears (:data:`saltern.runbooks.CODES`): there is no
    problem without one.
    """

    node: str
    step: str
    cause: str
    remedy: str = ""
    state_id: str = ""
    code: str = field(kw_only=True)

    def __str__(self) -> str:
        return self.told() + runbooks.see([self.code])

    def told(self) -> str:
        """The problem without the way to its runbook."""
        where = f"{self.node}: " if self.node else ""
        state = f'"{self.state_id}": ' if self.state_id else ""
        remedy = f"\n    next: {self.remedy}" if self.remedy else ""
        return f"{where}{self.step}: {state}{self.cause}{remedy}"


def listed(problems: Sequence[Problem]) -> list[str]:
    """Problems as texts: of several of one kind in a row only the last one leads to their runbook."""
    pairs = zip_longest(problems, problems[1:])
    return [one.told() if after and after.code == one.code else str(one) for one, after in pairs]


Judge = Callable[[str, Any], str | None]
"""(node, returned value) -> why this is a failure, or None. Only asked about answers that are not failures already."""


@dataclass(frozen=True)
class Step:
    """One call to some nodes, and when it may start.

    Args:
        key: unique name within the job; other steps refer to it in ``after``.
        title: a phrase for the operator ("CRI-O and kubelet on 7 nodes").
        targets: the nodes to ask, in order.
        call: what to call, or a function that makes it from the outcomes so far (for what an earlier step found out).
        after: keys of steps that must have succeeded first.
        stage: the stage of the orchestration that waits for this step.
        one_at_a_time: ask the next node only when the one before has succeeded.
        always: run as soon as all of ``after`` have ended, however they ended, even if the job has failed (clean-up).
        undo: as ``always``, but only when the job fails or is interrupted: takes back what ``after`` did.
        deadline_s: seconds that one node may take.
        judge: looks at each node's returned value.
        in_test_mode: ask the nodes' own test mode ("ask"), nothing changes by it anyway ("reads"), or only
            say that it would be done ("say").
        reason: why this step is needed, for the plan.
        remedy: what to type when it fails; without one the command that continues the job is named.
    """

    key: str
    title: str
    targets: tuple[str, ...]
    call: Call | Callable[[Mapping[str, Outcome]], Call]
    after: tuple[str, ...] = ()
    stage: str = ""
    one_at_a_time: bool = False
    always: bool = False
    undo: bool = False
    deadline_s: float = 600.0
    judge: Judge | None = None
    in_test_mode: Literal["say", "ask", "reads"] = "say"
    reason: str = ""
    remedy: str = ""


@dataclass
class Answer:
    """What one node returned: the value, the seconds it took, the IDs of the states that changed something.

    ``at`` is the job's clock when the answer came.
    """

    node: str
    value: Any
    seconds: float
    changed: list[str] = field(default_factory=list)
    at: float = 0.0


@dataclass
class Outcome:
    """How a step went. Times are the job's clock in seconds; ``ended`` is None while it runs."""

    step: Step
    started: float
    ended: float | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """True once every target has answered well."""
        return self.ended is not None and not self.problems

    def value(self, node: str | None = None) -> Any:
        """The value that ``node`` returned (without a node: the only or first one). Raises KeyError."""
        return self.answers[node or self.step.targets[0]].value


@dataclass(frozen=True)
class Patience:
    """How long silence is borne, in seconds.

    A node that has shown no sign of life for ``silent_s`` is asked whether it still runs the job; it has ``answer_s``
    to say so and ``strikes`` chances. A loaded node answers late, a dead one never: the defaults allow 45 s to tell.
    """

    silent_s: float = 15.0
    answer_s: float = 15.0
    strikes: int = 2
    # Between an empty answer and the next question: a job's return may still be on its way when its process is gone.
    recheck_s: float = 2.0
