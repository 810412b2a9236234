"""Run steps on nodes: who is asked when, who has answered, who is missing, and what the operator sees meanwhile.

This is the scheduler below every orchestration. It knows nothing of Salt: a :class:`Transport` publishes calls and
hands back events; a clock and a line printer are passed in. One thread, one loop: start what may start, take what
arrived, ask after the silent, enforce deadlines, print a line.

Nothing counts as done because nobody complained: each node that was asked has to answer, and one that neither answers
nor runs the job any more is named.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from saltern import runbooks
from saltern.answers import Fault, changed, faults
from saltern.steps import (
    Answer,
    Call,
    Event,
    Outcome,
    Patience,
    Problem,
    Progressed,
    Returned,
    Step,
    StepError,
    Transport,
    TransportError,
)

GIVEN_UP = "given up: the job was interrupted"


@dataclass
class _Watch:
    """One node that has been asked and has not answered yet."""

    jid: str
    asked: float
    last_sign: float
    probed: float | None = None
    unanswered: int = 0
    gone: int = 0
    state_id: str = ""
    number: int = 0
    total: int = 0


@dataclass
class _Running:
    """A step under way."""

    step: Step
    outcome: Outcome
    call: Call
    waiting: list[str]
    watched: dict[str, _Watch] = field(default_factory=dict)


def seconds_text(seconds: float) -> str:
    """65.2 -> "1:05"."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Job:
    """Steps, run in the order that their ``after`` allows.

    Args:
        steps: all steps; keys unique, ``after`` names known keys (ValueError otherwise).
        transport: the way to the nodes.
        clock: seconds, monotonic.
        report: takes one line for the operator.
        patience: how long silence is borne.
        next_command: what the operator types to continue after a failure.
    """

    # A line at least this often; sooner when something has changed. Seconds.
    LINE_EVERY_S = 10.0
    CHANGED_LINE_EVERY_S = 5.0
    # How long one wait for events may last: bounds how late a deadline or a line can come. Seconds.
    TICK_S = 1.0

    def __init__(
        self,
        steps: Sequence[Step],
        transport: Transport,
        clock: Callable[[], float],
        report: Callable[[str], None],
        patience: Patience | None = None,
        next_command: str = "",
    ) -> None:
        self.steps = {step.key: step for step in steps}
        self.transport = transport
        self.clock = clock
        self.report = report
        self.patience = patience or Patience()
        self.next_command = next_command
        self.outcomes: dict[str, Outcome] = {}
        self._running: dict[str, _Running] = {}
        self._by_jid: dict[str, _Running] = {}
        self._probes: dict[str, _Running] = {}
        self._last_line = clock()
        self._changed = False
        self._stopped = False
        _check(steps, self.steps)

    # -- what a caller asks ------------------------------------------------------------------------------------------

    def run(self, until: Collection[str] | None = None) -> list[Problem]:
        """Work until the steps named in ``until`` (default: all) have ended, or something has failed.

        Steps beyond ``until`` start too when they may, and go on in the next call. After a failure nothing new starts
        but clean-up (``always``, ``undo``), what runs is waited for, and all problems are returned. [] when all went
        well.
        """
        wanted = {key for key, step in self.steps.items() if not step.undo} if until is None else set(until)
        while not self._reached(wanted):
            self._start_ready()
            if self._reached(wanted):
                break
            for event in self.transport.events(self.TICK_S):
                self._take(event)
            self._ask_silent()
            self._enforce_deadlines()
            self._print_line()
        return self.problems()

    def commit(self) -> None:
        """What was done stays: no ``undo`` step will run any more, whatever happens later."""
        self.steps = {key: step for key, step in self.steps.items() if not step.undo}

    def clean_up(self) -> list[Problem]:
        """Forget what runs, and run the clean-up steps that are owed: ``always`` or ``undo``, its ``after`` begun."""
        self._stopped = True
        for running in list(self._running.values()):
            for node in list(running.watched):
                self._lose(running, node, GIVEN_UP, "run-interrupted")
            if not running.outcome.problems:  # interrupted while it was being sent
                self._problem(running, "", GIVEN_UP, "run-interrupted")
                self._end(running)
        cleaning = [step for step in self.steps.values() if step.always or step.undo]
        owed = [step.key for step in cleaning if any(key in self.outcomes for key in step.after)]
        return self.run(owed)

    def problems(self) -> list[Problem]:
        """All problems so far, in the order of the steps."""
        return [problem for key in self.steps if key in self.outcomes for problem in self.outcomes[key].problems]

    def progress(self) -> str:
        """What runs now: each step with its count of answered nodes, and how far its slowest nodes are."""
        return "; ".join(self._step_progress(running) for running in self._running.values()) or "starting"

    # -- starting ----------------------------------------------------------------------------------------------------

    def _reached(self, wanted: set[str]) -> bool:
        if self._failed():
            return not self._running and not any(self._may_start(step) for step in self.steps.values())
        return all(key in self.outcomes and self.outcomes[key].ended is not None for key in wanted)

    def _may_start(self, step: Step) -> bool:
        if step.key in self.outcomes:
            return False
        if step.undo and not self._failed():
            return False
        before = [self.outcomes.get(key) for key in step.after]
        if step.always or step.undo:
            # Clean-up is owed once anything that it follows has begun, and waits for all of that which can still run.
            begun = [outcome for outcome in before if outcome]
            complete = len(begun) == len(before) or self._failed()
            return bool(begun or not before) and complete and all(outcome.ended is not None for outcome in begun)
        return not self._failed() and all(outcome is not None and outcome.succeeded for outcome in before)

    def _failed(self) -> bool:
        return self._stopped or any(outcome.problems for outcome in self.outcomes.values())

    def _start_ready(self) -> None:
        # A step without targets, or whose call cannot be published, ends at once and may free others: look again.
        while ready := [step for step in self.steps.values() if self._may_start(step)]:
            for step in ready:
                self._start(step)

    def _start(self, step: Step) -> None:
        outcome = Outcome(step, started=self.clock())
        self.outcomes[step.key] = outcome
        self._changed = True
        running = _Running(step, outcome, Call(""), waiting=list(step.targets))
        self._running[step.key] = running
        try:
            running.call = step.call if isinstance(step.call, Call) else step.call(self.outcomes)
        except StepError as err:
            self._problem(running, "", str(err), err.codes[0])
        self._ask_next(running)

    def _ask_next(self, running: _Running) -> None:
        """Publish to the next node of a one-at-a-time step, or to all nodes of another; end a step that has no more."""
        if running.waiting and not running.outcome.problems:
            batch = running.waiting[:1] if running.step.one_at_a_time else list(running.waiting)
            del running.waiting[: len(batch)]
            self._publish(running, batch)
        if not running.watched:
            self._end(running)

    def _publish(self, running: _Running, nodes: list[str]) -> None:
        call = running.call
        try:
            published = self.transport.publish(nodes, call.function, call.arg, call.kwarg)
        except TransportError as err:
            self._problem(running, "", str(err), err.codes[0])
            return
        now = self.clock()
        self._by_jid[published.jid] = running
        for node in nodes:
            if node in published.expected:
                running.watched[node] = _Watch(published.jid, asked=now, last_sign=now)
            else:
                cause = "the master has no accepted key of this minion"
                self._problem(running, node, cause, "minion-key-missing", f"salt-key -l all; salt-key -f {node}")

    def _end(self, running: _Running) -> None:
        running.outcome.ended = self.clock()
        self._running.pop(running.step.key, None)
        self._changed = True

    # -- what arrives ------------------------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        probed = self._probes.get(event.jid)
        if probed and isinstance(event, Returned):
            self._take_probe(probed, event)
            return
        running = self._by_jid.get(event.jid)
        watch = running.watched.get(event.node) if running else None
        if running is None or watch is None:
            return  # another job's event, or an answer that came after the node was given up
        if isinstance(event, Progressed):
            watch.state_id, watch.number, watch.total = event.state_id, event.number, event.total
            watch.last_sign, watch.probed, watch.unanswered, watch.gone = self.clock(), None, 0, 0
            self._changed = True
        else:
            self._take_answer(running, watch, event)

    def _take_answer(self, running: _Running, watch: _Watch, event: Returned) -> None:
        del running.watched[event.node]
        self._changed = True
        now = self.clock()
        running.outcome.answers[event.node] = Answer(
            event.node, event.value, now - watch.asked, changed(running.call, event.value), now
        )
        found = faults(running.call.function, event.value, event.ok)
        if not found and running.step.judge and (cause := running.step.judge(event.node, event.value)):
            found = [Fault("", cause, runbooks.of_function(running.call.function))]
        for fault in found:
            self._problem(running, event.node, fault.cause, fault.code, state=fault.state_id)
        if not running.watched:
            self._ask_next(running)

    def _take_probe(self, running: _Running, event: Returned) -> None:
        watch = running.watched.get(event.node)
        if watch is None:
            return
        watch.probed, watch.unanswered = None, 0
        if event.value:
            watch.last_sign, watch.gone = self.clock(), 0
            return
        watch.gone += 1
        watch.last_sign = self.clock() - self.patience.silent_s + self.patience.recheck_s
        if watch.gone >= self.patience.strikes:
            cause = "its minion returned nothing and no longer runs the job (was it restarted?)"
            self._lose(running, event.node, cause, "minion-lost")

    # -- who is silent -----------------------------------------------------------------------------------------------

    def _ask_silent(self) -> None:
        for running in list(self._running.values()):
            self._count_unanswered(running)
            now = self.clock()
            silent = [
                node
                for node, watch in running.watched.items()
                if watch.probed is None and now - watch.last_sign >= self.patience.silent_s
            ]
            if silent:
                self._probe(running, silent)

    def _probe(self, running: _Running, nodes: list[str]) -> None:
        for jid in {running.watched[node].jid for node in nodes}:
            asked = [node for node in nodes if running.watched[node].jid == jid]
            for node in asked:
                running.watched[node].probed = self.clock()
            # A question that could not be sent is one that nobody answers: the strikes count it.
            with suppress(TransportError):
                self._probes[self.transport.ask_running(jid, asked).jid] = running

    def _count_unanswered(self, running: _Running) -> None:
        now = self.clock()
        for node, watch in list(running.watched.items()):
            if watch.probed is None or now - watch.probed < self.patience.answer_s:
                continue
            watch.probed, watch.unanswered = None, watch.unanswered + 1
            if watch.unanswered >= self.patience.strikes:
                silence = f"its minion has not answered for {now - watch.last_sign:.0f} s"
                self._lose(running, node, f"{silence} (node down, minion stopped or network cut)", "minion-lost")

    def _enforce_deadlines(self) -> None:
        now = self.clock()
        for running in list(self._running.values()):
            for node, watch in list(running.watched.items()):
                if now - watch.asked >= running.step.deadline_s:
                    last = f', last state done: "{watch.state_id}"' if watch.state_id else ""
                    late = f"not done within {running.step.deadline_s:.0f} s{last}"
                    self._lose(running, node, f"{late}; the node may still be at it", "step-too-slow")

    def _lose(self, running: _Running, node: str, cause: str, code: str) -> None:
        running.watched.pop(node)
        remedy = f"salt {node} test.ping   (and on the node: journalctl -u salt-minion -n 50)"
        self._problem(running, node, cause, code, remedy)
        if not running.watched:
            self._ask_next(running)

    def _problem(self, running: _Running, node: str, cause: str, code: str, remedy: str = "", state: str = "") -> None:
        remedy = remedy or running.step.remedy or self.next_command
        problem = Problem(node, running.step.title, cause, remedy, state, code=code)
        running.outcome.problems.append(problem)
        self.report(f"FAILED {problem}")
        self._changed = True

    # -- what the operator sees --------------------------------------------------------------------------------------

    def _print_line(self) -> None:
        now = self.clock()
        since = now - self._last_line
        if since >= self.LINE_EVERY_S or (self._changed and since >= self.CHANGED_LINE_EVERY_S):
            self._last_line, self._changed = now, False
            self.report(self.progress())

    def _step_progress(self, running: _Running) -> str:
        total = len(running.step.targets)
        text = f"{running.step.title} {len(running.outcome.answers)}/{total}"
        slowest = sorted(running.watched.items(), key=lambda pair: pair[1].number / max(pair[1].total, 1))[:2]
        return text + (f" ({', '.join(self._node_progress(*pair) for pair in slowest)})" if slowest else "")

    def _node_progress(self, node: str, watch: _Watch) -> str:
        elapsed = f"{self.clock() - watch.asked:.0f} s"
        if watch.unanswered or (watch.probed is not None and self.clock() - watch.probed > self.TICK_S * 5):
            return f"{node} silent for {self.clock() - watch.last_sign:.0f} s"
        if not watch.state_id:
            return f"{node} {elapsed}"
        return f'{node} {watch.number}/{watch.total} after "{watch.state_id}" {elapsed}'


def _check(steps: Sequence[Step], by_key: Mapping[str, Step]) -> None:
    """Refuse steps that could never run: a key twice, an unknown key in ``after``, a circle."""
    if len(by_key) != len(steps):
        raise ValueError(f"two steps share a key: {sorted(step.key for step in steps)}")
    for step in steps:
        unknown = set(step.after) - set(by_key)
        if unknown:
            raise ValueError(f"step {step.key} comes after {sorted(unknown)}, which are no steps of this job")
    done: set[str] = set()
    while rest := [step for step in steps if step.key not in done]:
        free = {step.key for step in rest if set(step.after) <= done}
        if not free:
            raise ValueError(f"these steps wait for each other: {sorted(step.key for step in rest)}")
        done |= free
