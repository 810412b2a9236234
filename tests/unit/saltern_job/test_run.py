"""One run over its stages: titles, record, lock, what goes wrong."""

from __future__ import annotations

import json

import pytest

from saltern import record, runbooks, stages
from saltern.run import Run, StageError, Ticker, Told, settings
from saltern.steps import Call, Problem, Step, TransportError
from tests.unit.saltern.definitions import overlaid
from tests.unit.saltern_job.fakes import Clock, FakeMaster, Reaction, states

# The master's clock, in seconds since the epoch, when a run begins.
EPOCH = 1_700_000_000.0


class Scene:
    """A run on a fake master over the shipped table."""

    def __init__(self, directory, **rest):
        self.clock = Clock()
        self.master = FakeMaster(self.clock, accepted=set())
        self.lines: list[str] = []
        dirs = [str(path) for path in overlaid(directory)]
        self.state = directory / "state"
        self.run = Run(lambda: self.master, dirs, str(self.state), jid="7", user="eve", report=self.lines.append,
                       clock=self.clock, wall=lambda: EPOCH + self.clock.now,
                       titles=["First", "Second"], **rest)  # fmt: skip
        self.master.accepted = set(self.run.table.all)

    def record(self):
        return json.loads((self.state / "saw-k8s" / "runs" / "7.json").read_text())


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def test_begin_takes_the_lock_and_opens_the_record(scene):
    told = scene.run.do("First", lambda: stages.begin(scene.run))
    assert told.comment == "saw-k8s: 8 nodes, Kubernetes 1.36.4 at 192.168.100.150:6443"
    assert scene.record()["result"] == "running" and scene.record()["user"] == "eve"
    assert record.read_owner(scene.state / "saw-k8s" / "lock")["job"] == "orchestrate.cluster"
    scene.run.do("Second", lambda: stages.end(scene.run))
    assert scene.record()["result"] == "succeeded"
    assert [stage["title"] for stage in scene.record()["stages"]] == ["First"]
    assert record.read_owner(scene.state / "saw-k8s" / "lock") is None


def test_begin_in_test_mode_leaves_nothing(tmp_path):
    scene = Scene(tmp_path, test=True)
    stages.begin(scene.run)
    assert list((scene.state / "saw-k8s" / "runs").iterdir()) == []
    assert record.read_owner(scene.state / "saw-k8s" / "lock") is None


def test_a_dry_run_is_told_who_works(tmp_path):
    scene = Scene(tmp_path, test=True)
    with (
        record.Lock(record.cluster_dir(scene.state, "saw-k8s"), {"user": "mia", "job": "j"}),
        pytest.raises(record.LockedError, match="mia runs j since"),
    ):
        stages.begin(scene.run)


def test_a_dry_run_leaves_what_a_dead_owner_left(tmp_path):
    scene = Scene(tmp_path, test=True)
    lock = record.cluster_dir(scene.state, "saw-k8s") / "lock"
    lock.write_text(json.dumps({"user": "mia"}))
    stages.begin(scene.run)
    assert record.read_owner(lock) == {"user": "mia"}


def test_the_record_says_who_where_and_with_what(scene):
    scene.run.do("First", lambda: stages.begin(scene.run))
    data = scene.record()
    assert (data["user"], data["job"], data["cluster"]) == ("eve", "orchestrate.cluster", "saw-k8s")
    assert data["nodes"]["load_balancer"] == ["saw-k8s-ha-01"] and len(data["nodes"]["worker"]) == 4
    assert data["versions"]["kubelet"] == "1.36.4" and "etcdctl" not in data["versions"]
    scene.run.close(record.SUCCEEDED)


def test_what_no_state_changed_is_recorded_once(scene):
    scene.run.do("First", lambda: stages.begin(scene.run))
    scene.master.react("n1", "state.apply", Reaction(states(A_thing=True)))
    scene.master.accepted |= {"n1"}
    job = scene.run.new_job([Step("s", "S", ("n1",), Call("state.apply"))])

    def work():
        job.run()
        return Told("", {"n1": ["A thing", "modules.kube"], "n2": "created"})

    scene.run.do("Second", work)
    stage = scene.record()["stages"][-1]
    assert stage["changed"] == {"n1": ["modules.kube"], "n2": ["created"]}
    assert stage["steps"][0]["nodes"]["n1"]["changed"] == ["A thing"]


def test_old_records_go_when_a_run_begins(tmp_path):
    scene = Scene(tmp_path, keep_runs=1)
    record.Record.open(record.cluster_dir(scene.state, "saw-k8s"), "j", "1")
    stages.begin(scene.run)
    assert [path.name for path in (scene.state / "saw-k8s" / "runs").iterdir()] == ["7.json"]
    scene.run.close(record.SUCCEEDED)


def test_begin_tells_of_a_lock_that_was_left_behind(scene):
    (record.cluster_dir(scene.state, "saw-k8s") / "lock").write_text(
        json.dumps({"user": "mia", "job": "j", "pid": 3, "since": "then"})
    )
    told = stages.begin(scene.run)
    assert told.comment.endswith("the lock of mia's j (process 3, since then) was taken over: that process has died")
    scene.run.close(record.SUCCEEDED)


@pytest.mark.parametrize(("result", "left"), [("succeeded", False), ("failed", True), ("running", True)])
def test_begin_knows_whether_the_last_run_ended(scene, result, left):
    record.Record.open(record.cluster_dir(scene.state, "saw-k8s"), "j", "1").close(result, 1)
    stages.begin(scene.run)
    assert scene.run.left_over is left
    scene.run.close(record.SUCCEEDED)


def test_an_invalid_definition_is_one_message(tmp_path):
    run = Run(lambda: pytest.fail("no node may be asked"), [str(tmp_path)], str(tmp_path), report=lambda line: None)
    told = run.do("First", lambda: stages.begin(run))
    assert told.result is False and "nothing was done" in told.comment


def test_lines_say_time_stage_and_number(scene):
    scene.clock.now += 65
    scene.run.do("Second", lambda: Told("done"))
    assert scene.lines == ["[1:05] stage 2/2: Second | begins", "[1:05] stage 2/2: Second | done in 0 s"]


def test_a_failed_stage_is_told_recorded_and_ends_the_run(scene):
    scene.run.do("First", lambda: stages.begin(scene.run))

    def fail():
        lost = Problem("n2", "Join", "no net", code="minion-lost")
        raise StageError(Problem("n1", "Join", "no disk", "make room", code="disk-full"), lost)

    told = scene.run.do("Second", fail)
    assert told.result is False
    first, second = runbooks.see(["disk-full"]), runbooks.see(["minion-lost"])
    assert told.comment == f"n1: Join: no disk\n    next: make room{first}\nn2: Join: no net{second}"
    data = scene.record()
    assert data["result"] == "failed" and [p["node"] for p in data["problems"]] == ["n1", "n2"]
    assert data["stages"][-1]["result"] == "failed"
    assert record.read_owner(scene.state / "saw-k8s" / "lock") is None


def test_no_stage_begins_after_one_that_failed(scene):
    def fail():
        raise TransportError("no master")

    scene.run.do("First", fail)
    told = scene.run.do("Second", lambda: pytest.fail("must not be worked at"))
    assert (told.result, told.comment) == (False, 'not begun, because "First" failed')


def test_an_interrupt_cleans_up_records_it_and_goes_on_up(scene):
    scene.run.do("First", lambda: stages.begin(scene.run))
    scene.master.react("*", "join", Reaction(after_s=100))
    job = scene.run.new_job([
        Step("a", "A", ("n1",), Call("join")), Step("z", "Z", ("n1",), Call("revoke"), after=("a",), always=True),
    ])  # fmt: skip
    scene.master.accepted.add("n1")

    def interrupted():
        job._start_ready()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scene.run.do("Second", interrupted)
    assert [sent.function for sent in scene.master.sent] == ["join", "revoke"]
    assert scene.record()["result"] == "interrupted"
    last = scene.record()["stages"][-1]
    assert (last["title"], last["result"], last["comment"]) == ("Second", "interrupted", "given up: KeyboardInterrupt")
    assert [step["key"] for step in last["steps"]] == ["a", "z"]
    assert scene.record()["problems"][0]["cause"] == "given up: the job was interrupted"
    assert scene.master.closed
    assert record.read_owner(scene.state / "saw-k8s" / "lock") is None


def test_an_interrupt_while_a_stage_is_announced_lets_go_too(scene):
    scene.run.do("First", lambda: stages.begin(scene.run))

    def interrupted(line):
        raise KeyboardInterrupt

    scene.run.report = interrupted
    with pytest.raises(KeyboardInterrupt):
        scene.run.do("Second", lambda: Told("never"))
    assert scene.record()["result"] == "interrupted"
    assert record.read_owner(scene.state / "saw-k8s" / "lock") is None


def test_a_step_is_recorded_in_the_stage_in_which_it_ended(scene):
    scene.run.do("First", lambda: stages.begin(scene.run))
    scene.master.accepted |= {"n1"}
    scene.master.react("n1", "slow", Reaction(after_s=20))
    job = scene.run.new_job([Step("q", "Quick", ("n1",), Call("quick")), Step("s", "Slow", ("n1",), Call("slow"))])
    scene.run.do("Second", lambda: Told(str(job.run(until=["q"]))))
    scene.run.do("Third", lambda: Told(str(job.run())))
    assert [[step["key"] for step in stage["steps"]] for stage in scene.record()["stages"]] == [[], ["q"], ["s"]]


def test_a_ticker_keeps_its_pace(scene):
    texts = ["a"]
    tick = Ticker(scene.run, lambda: texts[-1])
    for second in range(31):
        scene.clock.now = second
        if second == 16:
            texts.append("b")
        tick()
    assert [line.split("] ")[0] + "]" for line in scene.lines] == ["[0:05]", "[0:15]", "[0:20]", "[0:30]"]


def test_settings_of_the_masters_configuration():
    own = {"pillar_dirs": ["/p"], "state_dir": "/s", "silent_s": 2, "keep_runs": 7}
    told = settings({"gather_job_timeout": 30, "saltern": own})
    assert (told["pillar_dirs"], told["state_dir"], told["keep_runs"]) == (["/p"], "/s", 7)
    assert (told["patience"].silent_s, told["patience"].answer_s) == (2, 30.0)
    assert settings({"gather_job_timeout": 30})["keep_runs"] == record.KEEP_RUNS
