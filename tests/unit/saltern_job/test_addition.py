"""The stages of orchestrate.node_add on a fake master: who comes, who is asked, who waits, what is refused."""

from __future__ import annotations

import json

import pytest

from saltern import addition, record, stages
from saltern.arrivals import Arrivals, Turn
from saltern.plan_add import Picture
from saltern.rows import Rows
from saltern.run import StageError
from tests.unit.saltern_job.fakes import Reaction, states
from tests.unit.saltern_job.test_run import Scene as Bare

MEMBER = {"joined": True, "healthy": True}
SYNC = "saltutil.sync_modules,saltutil.sync_states,saltutil.refresh_pillar"
BOTH = "preflight.findings,kubeadm.status"
NEW = "saw-k8s-w-05"
ROW = {"role": "worker", "cpus": 2, "memory_gib": 16, "disk_gib": 20}
TITLES = ["Begin", "Answer", "Check", "Prepared", "Joined", "Ready", "End"]
REPORT = {"findings": [], "facts": {}, "unreached": [], "clock": None}


class Scene(Bare):
    """A cluster that runs, and rows for further machines."""

    def __init__(self, directory, *names, **rest):
        rows = Rows(directory / "state", "saw-k8s")
        for number, name in enumerate(names or (NEW,)):
            rows.add(name, ROW | {"address": f"192.168.100.{160 + number}"})
        super().__init__(directory, orchestration="orchestrate.node_add", **rest)
        self.run.titles = TITLES
        self.master.react("*", SYNC, Reaction({"saltutil.sync_modules": [], "saltutil.sync_states": []}))
        self.master.react("*", BOTH, Reaction({"preflight.findings": REPORT, "kubeadm.status": {"joined": False}}))
        self.master.react("*", "sys.list_functions", Reaction(["preflight.findings"]))
        self.master.react("*", "kubeadm.status", Reaction(MEMBER))
        self.master.react(
            "*", "kubeadm.join_material", Reaction(lambda kwarg: dict.fromkeys(kwarg["public_keys"], "x"))
        )
        self.master.react("*", "state.apply", Reaction(states(done=True)))
        members = [{"name": f"saw-k8s-m-0{n}", "learner": False, "peer_urls": [], "healthy": True} for n in (1, 2, 3)]
        self.master.react("*", "etcd_member.standing", Reaction(members))

    def add(self, **pillar):
        """All stages in order; what each told, up to the first that failed."""
        works = [
            lambda: addition.begin(self.run, pillar),
            lambda: addition.answer(self.run, 300),
            lambda: addition.check(self.run),
            *(lambda stage=stage: addition.reached(self.run, stage) for stage in ("prepared", "joined", "ready")),
            lambda: stages.end(self.run),
        ]
        told = []
        for title, work in zip(TITLES, works, strict=True):
            told.append(self.run.do(title, work))
            if told[-1].result is False:
                break
        return told

    def asked(self):
        """Nodes that any call went to."""
        return {node for sent in self.master.sent for node in sent.targets}

    def jobs(self):
        """(calls, nodes asked) of the whole run."""
        return len(self.master.sent), sum(len(sent.targets) for sent in self.master.sent)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """Nobody here holds a lock for a moment only: it is asked for once. (The patience itself: test_record.py.)"""
    monkeypatch.setattr(record, "TAKE_S", 0.0)


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def test_a_worker_is_added(scene):
    told = scene.add(node=NEW)
    assert [one.result for one in told] == [True] * 7
    assert scene.record()["result"] == "succeeded"
    assert (scene.record()["job"], scene.record()["user"]) == ("orchestrate.node_add", "eve")
    applied = [(sent.targets, sent.kwarg["mods"]) for sent in scene.master.calls("state.apply")]
    assert applied == [
        ((NEW,), ["os", "binaries", "crio", "kubelet"]),
        ((NEW,), ["kubeadm.joined"]),
        ((NEW,), ["cilium.node"]),
        (("saw-k8s-m-01",), ["cluster.marked"]),
    ]
    assert len(scene.master.calls("kubeadm.revoke_join_material")) == 1


def test_other_nodes_are_left_in_peace(scene):
    """Only control-plane nodes hear of a new worker: a ping, and what they are."""
    scene.add(node=NEW)
    assert scene.asked() == {NEW, "saw-k8s-m-01", "saw-k8s-m-02", "saw-k8s-m-03"}
    heard = {sent.function for sent in scene.master.sent if "saw-k8s-m-02" in sent.targets}
    assert heard == {"test.ping", "kubeadm.status"}


def test_jobs_do_not_grow_with_the_cluster(tmp_path):
    """Salt jobs and answers of one added worker, at 4 workers and at 32."""
    small = Scene(tmp_path / "small")
    many = [f"saw-k8s-w-{number}" for number in range(10, 38)]
    large = Scene(tmp_path / "large", NEW, *many)
    for scene in (small, large):
        assert scene.add(node=NEW)[-1].result is True
    assert len(large.run.table.workers) == 33
    assert small.jobs() == large.jobs() == (11, 16)


def test_several_are_one_wave(tmp_path):
    scene = Scene(tmp_path, "saw-k8s-w-05", "saw-k8s-w-06")
    assert scene.add(nodes=["saw-k8s-w-05", "saw-k8s-w-06"])[-1].result is True
    (joined,) = [sent for sent in scene.master.calls("state.apply") if sent.kwarg["mods"] == ["kubeadm.joined"]]
    assert joined.targets == ("saw-k8s-w-05", "saw-k8s-w-06")


def test_a_name_without_a_row_is_told_before_anything_is_asked(scene):
    (told,) = scene.add(node="saw-k8s-w-77")
    assert "saw-k8s-w-77: Addition: has no row" in told.comment
    assert "see " in told.comment and "addition-refused.md" in told.comment
    assert scene.master.sent == []


def test_a_dead_control_plane_node_does_not_keep_a_worker_out(scene):
    scene.master.react("saw-k8s-m-01", "*", Reaction(silent=True, alive=False))
    assert scene.add(node=NEW)[-1].result is True
    assert scene.master.calls("kubeadm.join_material")[0].targets == ("saw-k8s-m-02",)


def test_without_a_healthy_control_plane_nothing_is_tried(scene):
    for name in scene.run.table.control_plane:
        scene.master.react(name, "kubeadm.status", Reaction({"joined": False, "healthy": False}))
    told = scene.add(node=NEW)
    assert "no control-plane node of the cluster is healthy: there is" in told[-1].comment
    assert told[-1].comment.endswith("control-plane-unhealthy.md")
    assert scene.master.calls("state.apply") == []


def test_an_etcd_without_quorum_leads_to_its_own_page(scene):
    for name in scene.run.table.control_plane:
        sick = {"joined": True, "healthy": False, "expired": [], "etcd_leader": False}
        scene.master.react(name, "kubeadm.status", Reaction(sick))
    told = scene.add(node=NEW)
    assert "of the cluster is healthy (etcd has no quorum: no leader is seen by" in told[-1].comment
    assert told[-1].comment.endswith("etcd-quorum-lost.md")


def test_a_minion_that_does_not_answer_is_named_in_time(scene):
    scene.master.react(NEW, "test.ping", Reaction(silent=True))
    told = scene.add(node=NEW)
    assert f"{NEW}: Answer of the minion: no answer within 300 s" in told[-1].comment


def test_a_failure_says_how_to_go_on(scene):
    scene.master.react(NEW, "state.apply", Reaction(states(done=False), ok=False))
    told = scene.add(node=NEW)
    again = f"""next: salt-run state.orchestrate orchestrate.node_add pillar='{{"node": "{NEW}"}}'"""
    assert again in told[-1].comment
    assert scene.record()["result"] == "failed"


def test_in_test_mode_nothing_is_changed(tmp_path):
    scene = Scene(tmp_path, test=True)
    told = scene.add(node=NEW)
    assert {sent.function for sent in scene.master.sent} <= {"test.ping", "sys.list_functions", BOTH, "kubeadm.status"}
    comments = "\n".join(one.comment for one in told)
    assert f"would do: Preparation of workers: {NEW}" in comments
    assert f"would do: Worker join: {NEW} (not a member yet)" in comments
    assert f"would do: Ready: {NEW}: saw-k8s-m-01" in comments


# The reactor's call.


def test_whoever_was_announced_comes_along(tmp_path):
    scene = Scene(tmp_path, "saw-k8s-w-05", "saw-k8s-w-06")
    arrivals = Arrivals(scene.run.directory)
    for name in ("saw-k8s-w-06", "saw-k8s-w-05", "gone-again", "saw-k8s-m-01"):
        arrivals.announce(name)
    turn = Turn()
    assert turn.take(scene.run.directory)
    assert scene.add(automatic=True, turn=turn.fd)[-1].result is True
    assert scene.run.addition.names == ("saw-k8s-w-05", "saw-k8s-w-06")
    assert (arrivals.names(), scene.record()["user"]) == ([], "the reactor")
    assert Turn().take(scene.run.directory)


def test_a_row_that_is_written_while_an_addition_waits_is_seen(tmp_path):
    scene = Scene(tmp_path)
    turn = Turn()
    turn.take(scene.run.directory)
    assert "saw-k8s-w-06" not in scene.run.table.all

    def another_comes():
        Rows(scene.state, "saw-k8s").add("saw-k8s-w-06", ROW | {"address": "192.168.100.170"})
        Arrivals(scene.run.directory).announce("saw-k8s-w-06")
        other.release()
        return []

    other = record.Lock(scene.run.directory, {"user": "mia", "job": "orchestrate.node_add"})
    other.take()
    scene.master.events = lambda timeout_s: another_comes()
    addition.begin(scene.run, {"automatic": True, "turn": turn.fd})
    assert scene.run.addition.names == ("saw-k8s-w-06",)


def test_nobody_left_to_add_is_no_failure(scene):
    Arrivals(scene.run.directory).announce("gone-again")
    told = scene.add(automatic=True)
    assert [one.result for one in told] == [True] * 7
    assert scene.master.sent == []


def test_names_stay_announced_when_the_lock_is_never_free(scene):
    Arrivals(scene.run.directory).announce(NEW)
    with record.Lock(scene.run.directory, {"user": "mia", "job": "orchestrate.cluster"}):
        (told,) = scene.add(automatic=True, wait_s=3)
    assert "mia runs orchestrate.cluster since" in told.comment
    assert Arrivals(scene.run.directory).names() == [NEW]


# Waiting.


def test_a_worker_waits_for_another_operation_and_says_so(scene):
    other = record.Lock(scene.run.directory, {"user": "mia", "job": "orchestrate.cluster"})
    other.take()
    events = scene.master.events

    def for_six_seconds(timeout_s):
        if scene.clock.now > 6:
            other.release()
        return events(timeout_s)

    scene.master.events = for_six_seconds
    assert scene.add(node=NEW)[-1].result is True
    assert any("waits for mia's orchestrate.cluster" in line for line in scene.lines)


def test_a_control_plane_node_waits_for_nobody(tmp_path):
    scene = Scene(tmp_path)
    with record.Lock(scene.run.directory, {"user": "mia", "job": "orchestrate.node_add"}):
        (told,) = scene.add(node="saw-k8s-m-01")
    assert "mia runs orchestrate.node_add since" in told.comment
    assert scene.clock.now == 0


def test_a_dry_run_waits_for_nobody(tmp_path):
    scene = Scene(tmp_path, test=True)
    with record.Lock(scene.run.directory, {"user": "mia", "job": "orchestrate.node_add"}):
        (told,) = scene.add(node=NEW)
    assert "mia runs orchestrate.node_add since" in told.comment


# Control-plane nodes.


def control_plane(tmp_path, **rest):
    """A table of five whose last two are new."""
    scene = Scene(tmp_path, **rest)
    rows = {f"saw-k8s-m-0{n}": {"role": "control_plane", "address": f"192.168.100.{140 + n}"} for n in (4, 5)}
    size = {"cpus": 2, "memory_gib": 8, "disk_gib": 20}
    overlay = tmp_path / "overlay" / "cluster.sls"
    overlay.write_text(json.dumps({"nodes": {name: row | size for name, row in rows.items()}}))
    scene.run.reread()
    scene.master.accepted = set(scene.run.table.all)
    return scene


def test_control_plane_nodes_are_added_one_after_the_other_and_made_known(tmp_path):
    scene = control_plane(tmp_path)
    assert [one.result for one in scene.add(nodes=["saw-k8s-m-04", "saw-k8s-m-05"])] == [True] * 7
    applied = [(sent.targets, sent.kwarg["mods"]) for sent in scene.master.calls("state.apply")]
    joins = [targets for targets, mods in applied if mods == ["kubeadm.joined"]]
    assert joins == [("saw-k8s-m-04",), ("saw-k8s-m-05",)]
    assert (("saw-k8s-ha-01",), ["haproxy", "os.hosts"]) in applied
    assert (("saw-k8s-m-01", "saw-k8s-m-02", "saw-k8s-m-03"), ["os.hosts"]) in applied
    assert not scene.asked() & set(scene.run.table.workers)


def test_a_control_plane_node_is_refused_while_etcd_is_not_well(tmp_path):
    scene = control_plane(tmp_path)
    members = [
        {"name": f"saw-k8s-m-0{number}", "learner": False, "peer_urls": [], "healthy": number != 3}
        for number in (1, 2, 3)
    ]
    scene.master.react("*", "etcd_member.standing", Reaction(members))
    told = scene.add(node="saw-k8s-m-04")
    assert "saw-k8s-m-04: Addition: etcd is unhealthy: of 3 members saw-k8s-m-03 does not answer" in told[-1].comment
    assert scene.master.calls("state.apply") == []


def test_stages_need_the_one_that_checks(scene):
    scene.run.addition = addition.Addition(addition.Request((NEW,)), (NEW,))
    with pytest.raises(StageError, match="no stage has checked it yet"):
        addition.reached(scene.run, "ready")
    scene.run.addition = None
    with pytest.raises(StageError, match="no node was named"):
        addition.answer(scene.run, 1)
    assert Picture(scene.run.table, (), "m").control_plane == ()
