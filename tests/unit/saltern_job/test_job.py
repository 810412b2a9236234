"""The scheduler: what starts when, who is missing, what is told."""

from __future__ import annotations

from itertools import pairwise

import pytest

from saltern import runbooks
from saltern.job import Job
from saltern.steps import Call, Patience, Step, StepError, TransportError
from tests.unit.saltern_job.fakes import FIND_JOB, Clock, FakeMaster, Reaction, states

PATIENCE = Patience(silent_s=10, answer_s=10, strikes=2, recheck_s=2)


class Stage:
    """A job on a fake master, with what it printed."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.master = FakeMaster(self.clock)
        self.lines: list[tuple[float, str]] = []

    def job(self, *steps: Step, patience: Patience = PATIENCE) -> Job:
        def report(line: str) -> None:
            self.lines.append((self.clock.now, line))

        return Job(list(steps), self.master, self.clock, report, patience, "salt-run again")

    def order(self) -> list[str]:
        return [sent.function for sent in self.master.sent if sent.function != FIND_JOB]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def step(key: str, *targets: str, after: tuple[str, ...] = (), **rest: object) -> Step:
    return Step(key, f"Title of {key}", targets or ("n1",), Call(f"fun.{key}"), after=after, **rest)


def test_steps_start_when_what_they_wait_for_has_succeeded(stage):
    stage.master.react("*", "fun.a", Reaction(after_s=5))
    job = stage.job(step("b", after=("a",)), step("a"), step("c"))
    assert job.run() == []
    assert [(sent.function, sent.at) for sent in stage.master.sent] == [("fun.a", 0), ("fun.c", 0), ("fun.b", 5)]


def test_nodes_of_a_step_are_asked_in_one_call(stage):
    stage.job(step("a", "n1", "n2", "n3")).run()
    assert [sent.targets for sent in stage.master.sent] == [("n1", "n2", "n3")]


def test_one_at_a_time_waits_for_each_node(stage):
    stage.master.react("*", "fun.a", Reaction(after_s=4))
    stage.job(step("a", "n1", "n2", "n3", one_at_a_time=True)).run()
    assert [(sent.targets, sent.at) for sent in stage.master.sent] == [(("n1",), 0), (("n2",), 4), (("n3",), 8)]


def test_one_at_a_time_stops_at_the_first_failure(stage):
    stage.master.react("n1", "fun.a", Reaction(value="no", ok=False))
    problems = stage.job(step("a", "n1", "n2", one_at_a_time=True)).run()
    assert [problem.node for problem in problems] == ["n1"]
    assert [sent.targets for sent in stage.master.sent] == [("n1",)]


def test_a_failure_names_node_step_cause_and_what_to_type(stage):
    stage.master.react("n1", "fun.a", Reaction(value="the disk\nis full", ok=False))
    (problem,) = stage.job(step("a")).run()
    assert problem.told() == "n1: Title of a: the disk is full\n    next: salt-run again"
    assert str(problem) == problem.told() + f"\n    see {runbooks.DIRECTORY}/call-failed.md"
    assert stage.lines[0] == (1.0, f"FAILED {problem}")


def test_after_a_failure_nothing_new_starts_and_what_runs_is_waited_for(stage):
    stage.master.react("n1", "fun.a", Reaction(value="bad", ok=False))
    stage.master.react("n2", "fun.b", Reaction(value="worse", ok=False, after_s=30))
    job = stage.job(step("a"), step("b", "n2"), step("c", after=("a",)), step("d", after=("b",)))
    assert [problem.cause for problem in job.run()] == ["bad", "worse"]
    assert stage.order() == ["fun.a", "fun.b"]


def test_clean_up_runs_after_a_failure(stage):
    stage.master.react("n1", "fun.join", Reaction(value="bad", ok=False))
    job = stage.job(
        step("material"), step("join", after=("material",)), step("revoke", after=("material", "join"), always=True)
    )
    job.run()
    assert stage.order() == ["fun.material", "fun.join", "fun.revoke"]


def test_clean_up_waits_for_all_that_can_still_run(stage):
    stage.master.react("n1", "fun.b", Reaction(after_s=20))
    job = stage.job(step("a"), step("b", after=("a",)), step("clean", after=("a", "b"), always=True))
    job.run()
    assert stage.master.calls("fun.clean")[0].at == 21


def test_no_clean_up_where_nothing_was_begun(stage):
    stage.master.react("n1", "fun.a", Reaction(value="bad", ok=False))
    stage.job(step("a"), step("b", after=("a",)), step("clean", after=("b",), always=True)).run()
    assert stage.order() == ["fun.a"]


def test_run_until_returns_at_the_milestone_and_goes_on_later(stage):
    stage.master.react("n1", "fun.slow", Reaction(after_s=50))
    job = stage.job(step("quick"), step("slow"))
    assert job.run(until=["quick"]) == []
    assert stage.clock.now == 1 and job.outcomes["slow"].ended is None
    assert job.run(until=["slow"]) == []
    assert stage.clock.now == 50


def test_a_later_steps_failure_ends_an_earlier_milestone(stage):
    stage.master.react("n1", "fun.slow", Reaction(after_s=30))
    stage.master.react("n1", "fun.later", Reaction(value="bad", ok=False))
    problems = stage.job(step("slow"), step("later")).run(until=["slow"])
    assert [problem.cause for problem in problems] == ["bad"]


def test_a_call_can_use_what_an_earlier_step_found(stage):
    stage.master.react("n1", "fun.a", Reaction(value="secret"))
    use = Step("b", "b", ("n2",), lambda outcomes: Call("fun.b", kwarg={"x": outcomes["a"].value()}), after=("a",))
    stage.job(step("a"), use).run()
    assert stage.master.calls("fun.b")[0].kwarg == {"x": "secret"}


def test_a_call_that_cannot_be_made_is_a_failure(stage):
    def refuse(outcomes):
        raise StepError("nothing to join with")

    (problem,) = stage.job(Step("b", "Join", ("n2",), refuse)).run()
    assert problem.cause == "nothing to join with"
    assert stage.master.sent == []


def test_a_judge_turns_an_answer_into_a_failure(stage):
    stage.master.react("*", "fun.a", Reaction(value=3))
    problems = stage.job(
        step("a", "n1", "n2", judge=lambda node, value: f"{value} on {node}" if node == "n2" else None)
    ).run()
    assert [(problem.node, problem.cause) for problem in problems] == [("n2", "3 on n2")]


def test_a_node_without_accepted_key_is_named(stage):
    stage.master.accepted = {"n1"}
    (problem,) = stage.job(step("a", "n1", "n2")).run()
    assert (problem.node, problem.cause) == ("n2", "the master has no accepted key of this minion")


@pytest.mark.parametrize("one_at_a_time", [False, True])
def test_a_call_that_cannot_be_published_is_a_failure(stage, one_at_a_time):
    stage.master.refuses = "no Salt master listens"
    (problem,) = stage.job(step("a", "n1", "n2", one_at_a_time=one_at_a_time)).run()
    assert problem.cause == "no Salt master listens"


def test_a_dead_node_is_lost_after_its_strikes(stage):
    stage.master.react("n2", "fun.a", Reaction(silent=True, alive=False))
    (problem,) = stage.job(step("a", "n1", "n2")).run()
    assert problem.node == "n2"
    assert problem.cause.startswith("its minion has not answered for 30 s")
    assert stage.clock.now == pytest.approx(30, abs=2)
    assert [sent.targets for sent in stage.master.calls(FIND_JOB)] == [("n2",), ("n2",)]


def test_a_minion_that_forgot_the_job_is_lost(stage):
    stage.master.react("n1", "fun.a", Reaction(silent=True, forgets=True))
    (problem,) = stage.job(step("a")).run()
    assert "no longer runs the job" in problem.cause
    assert stage.clock.now < 20


def test_a_node_that_still_runs_the_job_is_waited_for(stage):
    stage.master.react("n1", "fun.a", Reaction(after_s=300))
    assert stage.job(step("a", deadline_s=600)).run() == []
    assert stage.clock.now == 300


def test_a_return_that_comes_while_the_question_is_under_way_counts(stage):
    stage.master.react("n1", "fun.a", Reaction(after_s=10.7))
    assert stage.job(step("a")).run() == []


def test_progress_is_a_sign_of_life(stage):
    stage.master.react("n1", "fun.a", Reaction(after_s=60, states=tuple((t, f"state {t}") for t in range(5, 60, 5))))
    stage.job(step("a")).run()
    assert stage.master.calls(FIND_JOB) == []


def test_each_node_of_one_at_a_time_is_asked_about_its_own_job(stage):
    stage.master.react("*", "fun.a", Reaction(after_s=25))
    assert stage.job(step("a", "n1", "n2", one_at_a_time=True)).run() == []
    asked = [(sent.targets, sent.arg) for sent in stage.master.calls(FIND_JOB)]
    first, second = stage.master.calls("fun.a")
    jids = {sent.targets: f"jid{stage.master.sent.index(sent)}" for sent in (first, second)}
    assert asked and all(arg == [jids[targets]] for targets, arg in asked)


def test_a_question_that_cannot_be_sent_counts_as_unanswered(stage, monkeypatch):
    def refuse(jid, targets):
        raise TransportError("master gone")

    stage.master.react("n1", "fun.a", Reaction(silent=True))
    monkeypatch.setattr(stage.master, "ask_running", refuse)
    (problem,) = stage.job(step("a")).run()
    assert problem.cause.startswith("its minion has not answered")


def test_a_deadline_ends_the_wait_and_names_the_last_state(stage):
    stage.master.react("n1", "fun.a", Reaction(after_s=500, states=((3, "Images are pulled"),)))
    (problem,) = stage.job(step("a", deadline_s=100)).run()
    assert problem.cause == 'not done within 100 s, last state done: "Images are pulled"; the node may still be at it'
    assert stage.clock.now == pytest.approx(100, abs=1)


def test_lines_come_every_ten_seconds_while_nothing_changes(stage):
    stage.master.react("n1", "fun.a", Reaction(after_s=45))
    stage.job(step("a"), patience=Patience(silent_s=1000)).run()
    times = [at for at, _ in stage.lines]
    assert times[0] <= 5 and all(later - earlier <= 10 for earlier, later in pairwise(times))
    assert len(times) == 5


def test_lines_come_every_five_seconds_while_something_changes(stage):
    stage.master.react("n1", "fun.a", Reaction(after_s=30, states=tuple((t, f"state {t}") for t in range(1, 30))))
    stage.job(step("a")).run()
    assert [at for at, _ in stage.lines] == [5, 10, 15, 20, 25, 30][: len(stage.lines)]
    assert len(stage.lines) >= 5


def test_a_line_says_how_many_are_done_and_where_the_slowest_are(stage):
    stage.master.react("n2", "fun.a", Reaction(after_s=9, states=((1, "Swap is off"), (8, "Modules are loaded"))))
    stage.job(step("a", "n1", "n2")).run()
    assert stage.lines[0][1] == 'Title of a 1/2 (n2 1/2 after "Swap is off" 5 s)'


def test_a_line_says_who_is_silent(stage):
    stage.master.react("n1", "fun.a", Reaction(silent=True, alive=False))
    stage.job(step("a")).run()
    assert any("n1 silent for 2" in line for _, line in stage.lines)


def test_answers_tell_seconds_and_changed_states(stage):
    apply = Step("a", "Apply", ("n1",), Call("state.apply"))
    stage.master.react("n1", "state.apply", Reaction(value=states(Swap_is_off=True, Time_is_right=None), after_s=7))
    job = stage.job(apply)
    assert job.run() == []
    answer = job.outcomes["a"].answers["n1"]
    assert (answer.seconds, answer.changed) == (7, ["Swap is off", "Time is right"])


def test_interrupted_jobs_clean_up_only(stage):
    stage.master.react("n1", "fun.join", Reaction(after_s=100))
    job = stage.job(
        step("material"),
        step("join", after=("material",)),
        step("more", after=("join",)),
        step("revoke", after=("material", "join"), always=True),
    )
    job.run(until=["material"])
    job.clean_up()
    assert stage.order() == ["fun.material", "fun.join", "fun.revoke"] or stage.order() == [
        "fun.material",
        "fun.revoke",
    ]
    assert stage.clock.now < 10


def test_a_job_that_is_interrupted_while_it_sends_cleans_up_too(stage, monkeypatch):
    """Ctrl-C may come before anybody is known to have been asked."""
    job = stage.job(step("a", "n1"), step("tidy", "n1", after=("a",), undo=True))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stage.master, "publish", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        job.run()
    (problem,) = job.clean_up()
    assert (problem.cause, problem.code) == ("given up: the job was interrupted", "run-interrupted")
    assert stage.order() == ["fun.tidy"]


def test_what_is_committed_is_not_taken_back(stage):
    job = stage.job(step("a"), step("back", after=("a",), undo=True))
    job.run()
    job.commit()
    assert job.clean_up() == []
    assert stage.order() == ["fun.a"]


def test_clean_up_of_a_job_that_owes_nothing_starts_nothing(stage):
    job = stage.job(step("a"), step("b", after=("a",)), step("clean", after=("b",), always=True))
    job.run(until=["a"])
    job.clean_up()
    assert "fun.clean" not in stage.order() and "fun.b" not in stage.order()


def test_what_a_job_that_failed_has_done_is_taken_back_once(stage):
    stage.master.react("n1", "fun.drain", Reaction(value="bad", ok=False))
    job = stage.job(step("cordon"), step("drain", after=("cordon",)), step("back", after=("cordon",), undo=True))
    job.run()
    assert stage.order() == ["fun.cordon", "fun.drain", "fun.back"]
    job.clean_up()
    assert stage.order() == ["fun.cordon", "fun.drain", "fun.back"]


def test_nothing_is_taken_back_of_a_job_that_went_well(stage):
    job = stage.job(step("cordon"), step("drain", after=("cordon",)), step("back", after=("cordon",), undo=True))
    assert job.run() == [] and job.run(until=["drain"]) == []
    assert stage.order() == ["fun.cordon", "fun.drain"]


def test_what_a_job_has_done_is_taken_back_on_request(stage):
    job = stage.job(step("cordon"), step("back", after=("cordon",), undo=True))
    job.run()
    job.clean_up()
    assert stage.order() == ["fun.cordon", "fun.back"]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((step("a"), step("a")), "share a key"),
        ((step("a", after=("x",)),), "which are no steps"),
        ((step("a", after=("b",)), step("b", after=("a",))), "wait for each other"),
    ],
)
def test_impossible_orders_are_refused(stage, steps, message):
    with pytest.raises(ValueError, match=message):
        stage.job(*steps)
