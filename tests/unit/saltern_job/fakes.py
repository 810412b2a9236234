"""A master whose nodes follow a script, and a clock that moves only when somebody waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from saltern.run import Keys
from saltern.steps import Event, Progressed, Published, Returned, TransportError

FIND_JOB = "saltutil.find_job"


class Clock:
    """Seconds since the start."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Reaction:
    """What a node does with a call: return a value after some seconds, show progress on the way, or stay silent.

    ``value`` may be a function of the call. ``states``: (after seconds, state ID). ``alive``: answers "do you run it?".
    """

    value: Any = True
    after_s: float = 1.0
    ok: bool = True
    silent: bool = False
    alive: bool = True
    forgets: bool = False
    states: tuple[tuple[float, str], ...] = ()


@dataclass
class Sent:
    """A call that was published, and when."""

    at: float
    targets: tuple[str, ...]
    function: str
    arg: list[Any]
    kwarg: dict[str, Any]


@dataclass
class FakeMaster:
    """Implements saltern.run.Master. ``react`` decides; the last matching rule (node or "*", function or "*") wins."""

    clock: Clock
    rules: list[tuple[str, str, Reaction]] = field(default_factory=list)
    accepted: set[str] | None = None
    others: Keys = field(default_factory=Keys)
    sent: list[Sent] = field(default_factory=list)
    bus: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refuses: str = ""
    closed: bool = False
    forgotten: list[str] = field(default_factory=list)
    _due: list[tuple[float, int, Event]] = field(default_factory=list)

    def react(self, node: str, function: str, reaction: Reaction) -> None:
        """From now on this node reacts so to this function."""
        self.rules.append((node, function, reaction))

    def calls(self, function: str) -> list[Sent]:
        """What was published of a function, in order."""
        return [sent for sent in self.sent if sent.function == function]

    def publish(self, targets: Sequence[str], function: str, arg: Sequence[Any], kwarg: Mapping[str, Any]) -> Published:
        if self.refuses:
            raise TransportError(self.refuses)
        jid = f"jid{len(self.sent)}"
        known = [node for node in targets if self.accepted is None or node in self.accepted]
        self.sent.append(Sent(self.clock.now, tuple(targets), function, list(arg), dict(kwarg)))
        for node in known:
            self._schedule(jid, node, self._reaction(node, function), kwarg)
        return Published(jid, frozenset(known))

    def ask_running(self, jid: str, targets: Sequence[str]) -> Published:
        asked = self.sent[int(jid.removeprefix("jid"))]
        probe = f"jid{len(self.sent)}"
        self.sent.append(Sent(self.clock.now, tuple(targets), FIND_JOB, [jid], {}))
        for node in targets:
            reaction = self._reaction(node, asked.function)
            if reaction.alive:
                running = not reaction.forgets and self.clock.now < asked.at + reaction.after_s
                self._due.append(
                    (self.clock.now + 0.5, len(self._due), Returned(probe, node, {"jid": jid} if running else {}))
                )
        return Published(probe, frozenset(targets))

    def events(self, timeout_s: float) -> Iterator[Event]:
        """Let time pass to the next event, at most ``timeout_s``."""
        until = self.clock.now + timeout_s
        ready = sorted(item for item in self._due if item[0] <= until)[:1]
        self.clock.now = max(self.clock.now, ready[0][0]) if ready else until
        for item in [item for item in sorted(self._due) if item[0] <= self.clock.now]:
            self._due.remove(item)
            yield item[2]

    def raw_events(self, timeout_s: float) -> Iterator[tuple[str, dict[str, Any]]]:
        self.clock.now += timeout_s
        while self.bus:
            yield self.bus.pop(0)

    def keys(self) -> Keys:
        accepted = {node: f"PEM of {node}" for node in self.accepted or ()}
        return Keys(accepted, self.others.pending, self.others.rejected, self.others.denied)

    def forget_key(self, minion_id: str) -> None:
        self.forgotten.append(minion_id)

    def close(self) -> None:
        self.closed = True

    def _reaction(self, node: str, function: str) -> Reaction:
        """The reaction to a function; several in one call are each asked for, unless there is a rule for the call."""
        fitting = [r for n, f, r in self.rules if n in (node, "*") and f in (function, "*")]
        called = function.split(",")
        if len(called) == 1 or any(f == function for _, f, _ in self.rules):
            return fitting[-1] if fitting else Reaction()
        parts = {name: self._reaction(node, name) for name in called}
        failed = [f"{name}: {part.value}" for name, part in parts.items() if not part.ok]
        value = "; ".join(failed) or {name: part.value for name, part in parts.items()}
        slowest = max(parts.values(), key=lambda part: (part.silent, part.after_s))
        return replace(slowest, value=value, ok=not failed)

    def _schedule(self, jid: str, node: str, reaction: Reaction, kwarg: Mapping[str, Any]) -> None:
        for number, (after_s, state_id) in enumerate(reaction.states, start=1):
            event = Progressed(jid, node, state_id, number, len(reaction.states))
            self._due.append((self.clock.now + after_s, len(self._due), event))
        if not reaction.silent:
            value = reaction.value(kwarg) if isinstance(reaction.value, Callable) else reaction.value
            self._due.append(
                (self.clock.now + reaction.after_s, len(self._due), Returned(jid, node, value, reaction.ok))
            )


def states(**results: bool | None) -> dict[str, Any]:
    """A state run's return: state ID (underscores for blanks) -> result; a state that succeeded changed something."""
    return {
        f"test_|-{key}_|-name_|-fun": {
            "__id__": key.replace("_", " "),
            "__run_num__": number,
            "result": result,
            "comment": f"comment of {key}",
            "changes": {"file": "new"} if result else {},
        }
        for number, (key, result) in enumerate(results.items())
    }
