"""One orchestration while it runs: who it is, what it has found out, what it prints and writes down.

The stages (``saltern/stages.py``) share one :class:`Run`. It is free of Salt: the way to the nodes is passed in.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from saltern import definition, record, runbooks
from saltern.findings import DefinitionError
from saltern.job import Job, seconds_text
from saltern.model import Cluster
from saltern.plan import PlanError, Table
from saltern.steps import Outcome, Patience, Problem, StepError, Transport, TransportError, listed

if TYPE_CHECKING:
    from saltern.addition import Addition
    from saltern.rebuild import Rebuild
    from saltern.removal import Removal
    from saltern.replacement import Replacement
    from saltern.restart import Restart
    from saltern.teardown import Teardown


@dataclass(frozen=True)
class Keys:
    """The minion keys that a master holds: the accepted ones with the public key (PEM), the IDs of the others."""

    accepted: Mapping[str, str] = field(default_factory=dict)
    pending: frozenset[str] = frozenset()
    rejected: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()


class Master(Transport, Protocol):
    """A transport that also knows the master's keys and its whole event bus."""

    def keys(self) -> Keys:
        """The minion keys."""

    def raw_events(self, timeout_s: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """The bus as (tag, data), waiting at most ``timeout_s`` for the first."""

    def forget_key(self, minion_id: str) -> None:
        """Delete a minion's key, whether accepted or not; one that is not there is no error."""

    def close(self) -> None:
        """Leave the bus."""


class StageError(Exception):
    """A stage cannot be reached. ``problems`` says on which node, why, and what to type."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = list(problems)

    def __str__(self) -> str:
        return "\n".join(listed(self.problems))


# What a stage may meet and tell in one message; anything else is a defect and shows its traceback.
EXPECTED = (StageError, TransportError, StepError, PlanError, DefinitionError, record.LockedError, record.RecordError)


def settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a :class:`Run` as the master's configuration has them (key ``saltern``: docs/architecture.md).

    Args:
        options: the master's ``__opts__``.
    """
    own = options.get("saltern", {})
    return {
        **definition.places(own),
        "patience": Patience(silent_s=own.get("silent_s", 15.0), answer_s=float(options["gather_job_timeout"])),
        "keep_runs": int(own.get("keep_runs", record.KEEP_RUNS)),
    }


def _problems(title: str, err: Exception) -> list[Problem]:
    """What stopped a stage, as problems for the record."""
    if isinstance(err, StageError):
        return err.problems
    return [Problem("", title, str(err), code=code) for code in getattr(err, "codes", ("",))]


@dataclass
class Told:
    """What a stage tells: a state's result, changes and comment. ``result`` None: it would change something."""

    comment: str
    changes: dict[str, Any] = field(default_factory=dict)
    result: bool | None = True


def told(outcomes: Iterable[Outcome]) -> Told:
    """Counts for the comment, IDs of changed states per node for the changes."""
    changes: dict[str, list[str]] = {}
    lines = []
    for outcome in outcomes:
        lines.append(f"{outcome.step.title}: {len(outcome.answers)} of {len(outcome.step.targets)}")
        for node, answer in outcome.answers.items():
            if answer.changed:
                changes.setdefault(node, []).extend(answer.changed)
    return Told("; ".join(lines) or "nothing to do", changes)


@dataclass
class Run:
    """The run of an orchestration.

    Args:
        connect: opens the way to the nodes, called once it is needed.
        pillar_dirs: directories of the definition.
        state_dir: where locks and records are kept.
        jid, user: of the orchestration, for the record.
        orchestration: its name as an operator types it.
        arguments: what he types behind it, as text.
        titles: the stages in order, for "stage 3/11".
        patience: how long silent nodes are borne.
        test: only say what would be done.
        keep_runs: how many records are kept, this run's included.
        report: takes a line for the operator.
        clock: seconds, monotonic.
        wall: seconds since the epoch.
    """

    connect: Callable[[], Master]
    pillar_dirs: list[str]
    state_dir: str
    jid: str = ""
    user: str = ""
    orchestration: str = "orchestrate.cluster"
    arguments: str = ""
    titles: list[str] = field(default_factory=list)
    patience: Patience = field(default_factory=Patience)
    test: bool = False
    keep_runs: int = record.KEEP_RUNS
    report: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self.began = self.clock()
        self.job: Job | None = None
        self.failed_stage = ""
        self.answering: set[str] = set()
        self.status: dict[str, dict[str, Any]] = {}
        self.left_over = False
        # What a dry run says of all stages that follow: they would work on what is not there yet.
        self.foretold = ""
        self.addition: Addition | None = None
        self.rebuild: Rebuild | None = None
        self.removal: Removal | None = None
        self.replacement: Replacement | None = None
        self.restart: Restart | None = None
        self.teardown: Teardown | None = None
        self.record: record.Record | None = None
        self.lock: record.Lock | None = None
        self._jobs: list[Job] = []
        self._noted: set[int] = set()
        self._master: Master | None = None
        self._cluster: Cluster | None = None
        self._prefix = ""

    @property
    def again(self) -> str:
        """What to type to go on after a failure."""
        return f"salt-run state.orchestrate {self.orchestration} {self.arguments}".rstrip()

    @property
    def cluster(self) -> Cluster:
        """The definition, read once. Raises DefinitionError."""
        if self._cluster is None:
            self._cluster = definition.load(self.pillar_dirs, self.state_dir)
        return self._cluster

    def reread(self) -> None:
        """Read the definition anew when it is asked for the next time."""
        self._cluster = None

    @property
    def table(self) -> Table:
        """Names by role."""
        return Table.of(self.cluster)

    @property
    def directory(self) -> Path:
        """Where the cluster's lock and records are."""
        return record.cluster_dir(self.state_dir, self.cluster.name)

    @property
    def master(self) -> Master:
        """The way to the nodes. Raises TransportError."""
        if self._master is None:
            self._master = self.connect()
        return self._master

    def tell(self, line: str) -> None:
        """Print a line for the operator: time since the start, the stage, the text."""
        self.report(f"[{seconds_text(self.clock() - self.began)}] {self._prefix}{line}")

    def new_job(self, steps: list[Any]) -> Job:
        """A job of this run: its lines and its clock."""
        job = Job(steps, self.master, self.clock, self.tell, self.patience, self.again)
        self._jobs.append(job)
        return job

    def do(self, title: str, work: Callable[[], Told]) -> Told:
        """Work at one stage: announced, timed, recorded; what goes wrong is told in one message and ends the run."""
        if self.failed_stage:
            return Told(f'not begun, because "{self.failed_stage}" failed', result=False)
        if self.foretold:
            self.close(record.SUCCEEDED)
            return Told(self.foretold, result=None)
        self._prefix = f"stage {self._number(title)}: {title} | "
        started = self.clock()
        try:
            self.tell("begins")
            told = work()
        except EXPECTED as err:
            told = Told(runbooks.told(err), result=False)
            self.failed_stage = title
            self._note(title, started, told, record.FAILED)
            self.close(record.FAILED, _problems(title, err))
            return told
        except BaseException as err:
            self._give_up(title, started, type(err).__name__)
            raise
        self._note(title, started, told)
        self.tell(f"done in {self.clock() - started:.0f} s")
        return told

    def close(self, result: str, problems: list[Problem] | None = None) -> None:
        """End the run: close the record, give back the lock, leave the bus. May be called again."""
        if self.record:
            self.record.close(result, self.clock() - self.began, problems)
        if self.lock:
            self.lock.release()
        if self._master:
            self._master.close()
        self.record, self.lock, self._master = None, None, None

    def _give_up(self, title: str, started: float, cause: str) -> None:
        """After an interrupt or a defect: revoke what must not outlive the run, then let go of everything."""
        try:
            for job in self._jobs:
                job.clean_up()
        finally:
            self._note(title, started, Told(f"given up: {cause}"), record.INTERRUPTED)
            self.close(record.INTERRUPTED, [problem for job in self._jobs for problem in job.problems()])

    def _number(self, title: str) -> str:
        return f"{self.titles.index(title) + 1}/{len(self.titles)}" if title in self.titles else "1/1"

    def _newly_ended(self) -> list[Outcome]:
        """Outcomes of steps that have ended since this was asked last."""
        ended = [outcome for job in self._jobs for outcome in job.outcomes.values() if outcome.ended is not None]
        new = [outcome for outcome in ended if id(outcome) not in self._noted]
        self._noted |= {id(outcome) for outcome in new}
        return new

    def _note(self, title: str, started: float, told: Told, result: str = record.SUCCEEDED) -> None:
        if self.record:
            steps = [record.step_facts(outcome, self.began) for outcome in self._newly_ended()]
            facts = {"comment": told.comment, "changed": self._of_no_state(told.changes), "steps": steps}
            self.record.stage(title, started - self.began, self.clock() - started, result, **facts)

    def _of_no_state(self, changes: Mapping[str, Any]) -> dict[str, list[str]]:
        """Of what a stage changed, what no step's answer tells: {node: ["created", "modules.kube"]}."""
        answers = [a for job in self._jobs for outcome in job.outcomes.values() for a in outcome.answers.values()]
        known = {(answer.node, state) for answer in answers for state in answer.changed}
        listed = {node: [items] if isinstance(items, str) else list(items) for node, items in changes.items()}
        rest = {node: [item for item in items if (node, item) not in known] for node, items in listed.items()}
        return {node: items for node, items in rest.items() if items}


class Ticker:
    """Call it often: prints ``text()`` when a line is due, every 10 s, or after 5 s if the text has changed."""

    def __init__(self, run: Run, text: Callable[[], str]) -> None:
        self._run, self._text = run, text
        self._last, self._last_text = run.clock(), ""

    def __call__(self) -> None:
        """Print a line if one is due."""
        since, text = self._run.clock() - self._last, self._text()
        if since >= Job.LINE_EVERY_S or (text != self._last_text and since >= Job.CHANGED_LINE_EVERY_S):
            self._last, self._last_text = self._run.clock(), text
            self._run.tell(text)
