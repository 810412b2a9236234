"""The stages of an orchestration on a fake master: readiness, a whole bring-up, test mode, verification."""

from __future__ import annotations

import json

import pytest

from saltern import plan, readiness, stages
from saltern.run import Keys, StageError
from saltern.steps import Call
from tests.unit.saltern_job.fakes import Reaction, states
from tests.unit.saltern_job.test_run import EPOCH, Scene

SYNC = "saltutil.sync_modules,saltutil.sync_states,saltutil.refresh_pillar"
SYNCED = {"saltutil.sync_modules": [], "saltutil.sync_states": ["states.stage"], "saltutil.refresh_pillar": True}
MEMBER = {"joined": True, "healthy": True, "foreign": None}
# The fake clock runs ahead of a real command.
PATIENT_S = 1e9
MAP = "cluster.map"
STAGES = (plan.PREPARED, plan.INITIALISED, plan.JOINED, plan.READY, plan.ANNOUNCED, plan.SERVING)


def told(*findings, ahead_s=0.0, **rest):
    """What preflight.findings returns on a node; its clock is ahead of the master's at the run's begin."""
    clock = EPOCH + ahead_s
    return {"findings": list(findings), "facts": {}, "unreached": [], "clock": [clock, clock], **rest}


class Cluster(Scene):
    """Nodes that answer; none is a member of a cluster yet."""

    def __init__(self, directory, status=None, **rest):
        super().__init__(directory, **rest)
        self.master.react("*", SYNC, Reaction(SYNCED))
        self.master.react("*", "preflight.findings", Reaction(told()))
        self.master.react("*", "kubeadm.status", Reaction(status or {"joined": False, "healthy": False}))
        self.master.react("*", "state.apply", Reaction(states(A_thing=True), after_s=3))
        self.master.react(
            "*", "kubeadm.join_material", Reaction(lambda kwarg: dict.fromkeys(kwarg["public_keys"], "x"))
        )
        self.master.react("*", "kubeadm.ca_certificate", Reaction("PEM"))
        self.master.react("*", "kube.wait_load_balancer", Reaction("192.168.100.200"))
        self.master.react("*", "sys.list_functions", Reaction(["preflight.findings"]))

    def silence(self, node):
        self.master.react(node, "*", Reaction(silent=True, alive=False))

    def ready(self):
        readiness.minions_answer(self.run, 60)
        return readiness.preflight(self.run)

    def applied(self):
        """[(SLS, nodes)] in the order of publication."""
        return [(tuple(s.kwarg["mods"]), s.targets) for s in self.master.calls("state.apply")]


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path)


def failure(work) -> list[tuple[str, str]]:
    with pytest.raises(StageError) as err:
        work()
    return [(problem.node, problem.cause) for problem in err.value.problems]


# -- machines and minions


def test_salt_cloud_is_not_asked_when_all_minions_answer(cluster):
    told = stages.machines(cluster.run, ["/bin/false"], MAP, 60)
    assert (told.comment, told.changes) == ("all 8 machines run: their minions answer", {})


def test_salt_cloud_is_asked_when_a_minion_is_silent(cluster):
    cluster.silence("saw-k8s-w-02")
    assert "exit code 1" in failure(lambda: stages.machines(cluster.run, ["/bin/false"], MAP, PATIENT_S))[0][1]


def test_salt_cloud_is_asked_when_a_key_is_missing(cluster, tmp_path):
    cluster.master.accepted.discard("saw-k8s-w-02")
    salt_cloud = stand_in_for_salt_cloud(tmp_path, {"saw-k8s-w-01": "running"}, made={"saw-k8s-w-02": {"id": 104}})
    told = stages.machines(cluster.run, [salt_cloud], MAP, PATIENT_S)
    assert told.changes == {"saw-k8s-w-02": "created"}
    assert cluster.master.calls("test.ping") == []


def test_a_machine_that_is_switched_off_is_started(cluster, tmp_path):
    cluster.silence("saw-k8s-w-02")
    salt_cloud = stand_in_for_salt_cloud(tmp_path, {"saw-k8s-w-01": "running", "saw-k8s-w-02": "stopped"})
    told = stages.machines(cluster.run, [salt_cloud], MAP, PATIENT_S)
    assert (told.comment, told.changes) == ("started saw-k8s-w-02", {"saw-k8s-w-02": "started"})
    assert (tmp_path / "calls").read_text().splitlines() == [
        "-P -m cluster.map -y --out=json",
        "-Q --out=json",
        "-y -a start saw-k8s-w-02 --out=json",
    ]


def test_a_machine_that_runs_but_does_not_answer_is_not_started(cluster, tmp_path):
    cluster.silence("saw-k8s-w-02")
    salt_cloud = stand_in_for_salt_cloud(tmp_path, {"saw-k8s-w-01": "stopped", "saw-k8s-w-02": "running"})
    told = stages.machines(cluster.run, [salt_cloud], MAP, PATIENT_S)
    assert (told.comment, told.changes) == ("all machines exist and run", {})
    assert "start" not in (tmp_path / "calls").read_text()


def test_a_query_of_proxmox_that_fails_is_told(cluster, tmp_path):
    cluster.silence("saw-k8s-w-02")
    salt_cloud = stand_in_for_salt_cloud(tmp_path, {}, code=1)
    assert (
        "-Q --out=json ended with exit code 1"
        in failure(lambda: stages.machines(cluster.run, [salt_cloud], MAP, PATIENT_S))[0][1]
    )


def stand_in_for_salt_cloud(directory, states, code=0, made=()):
    """A program that notes its arguments and answers -P and -Q as salt-cloud 3008.3 does."""
    found = {"my-proxmox-config": {"proxmox": {name: {"id": 1, "state": state} for name, state in states.items()}}}
    program = directory / "salt-cloud"
    answer = f"case $1 in -P) echo '{json.dumps(dict(made))}';; -Q) echo '{json.dumps(found)}'; exit {code};; esac"
    program.write_text(f'#!/bin/sh\necho "$*" >> {directory}/calls\n{answer}\n')
    program.chmod(0o755)
    return str(program)


def test_machines_in_test_mode_runs_nothing(tmp_path):
    cluster = Cluster(tmp_path, test=True)
    cluster.silence("saw-k8s-w-02")
    told = stages.machines(cluster.run, ["/bin/false"], MAP, 60)
    assert told.result is None and "saw-k8s-w-02" in told.comment and "/bin/false" in told.comment


def test_minions_answer_and_get_the_modules_in_one_call(cluster):
    told = readiness.minions_answer(cluster.run, 60)
    assert told.changes == {node: ["states.stage"] for node in cluster.run.table.all}
    assert [sent.function for sent in cluster.master.sent] == ["test.ping", SYNC]


def test_minions_that_answered_before_are_not_pinged_again(cluster):
    stages.machines(cluster.run, [], MAP, 60)
    readiness.minions_answer(cluster.run, 60)
    assert len(cluster.master.calls("test.ping")) == 1


def test_a_minion_that_connects_late_is_asked_again(cluster):
    original = cluster.master._reaction
    late = Reaction(silent=True)
    cluster.master._reaction = lambda node, fun: (
        late if (node, fun) == ("saw-k8s-w-01", "test.ping") and cluster.clock.now < 12 else original(node, fun)
    )
    assert readiness.minions_answer(cluster.run, 60).result is True
    assert [sent.targets for sent in cluster.master.calls("test.ping")[1:]] == [("saw-k8s-w-01",)] * 3


def test_a_machine_that_never_answers_is_named_with_all_others(cluster):
    cluster.silence("saw-k8s-w-01")
    cluster.silence("saw-k8s-m-02")
    found = failure(lambda: readiness.minions_answer(cluster.run, 60))
    assert [node for node, _ in found] == ["saw-k8s-m-02", "saw-k8s-w-01"]
    assert found[0][1].startswith("no answer within 60 s")
    assert any("6/8 minions answer; missing: saw-k8s-m-02, saw-k8s-w-01" in line for line in cluster.lines)


@pytest.mark.parametrize(
    ("others", "text"),
    [
        (Keys(pending=frozenset({"saw-k8s-w-01"})), "its key waits for acceptance"),
        (Keys(rejected=frozenset({"saw-k8s-w-01"})), "its key was rejected"),
        (Keys(), "the master has no key of this minion"),
    ],
)
def test_a_minion_with_an_unknown_key_is_named(cluster, others, text):
    cluster.master.accepted.discard("saw-k8s-w-01")
    cluster.master.others = others
    ((node, cause),) = failure(lambda: readiness.minions_answer(cluster.run, 60))
    assert node == "saw-k8s-w-01" and text in cause
    assert cluster.master.sent == []


def test_a_stranger_under_a_known_name_is_named(cluster):
    cluster.silence("saw-k8s-w-01")
    cluster.master.others = Keys(denied=frozenset({"saw-k8s-w-01"}))
    assert "another machine uses this name" in failure(lambda: readiness.minions_answer(cluster.run, 60))[0][1]


# -- preflight


FOUND = {
    "code": "port-taken",
    "what": "port 6443 is taken by nginx",
    "where": "TCP 6443",
    "why": "w",
    "remedy": "stop it",
}


def test_all_findings_of_all_nodes_at_once(cluster):
    blocked = [{"node": "saw-k8s-w-02", "port": 4240, "reason": "no answer"}]
    cluster.master.react("saw-k8s-m-01", "preflight.findings", Reaction(told(FOUND)))
    foreign = {"joined": False, "foreign": "another cluster's CA"}
    cluster.master.react("saw-k8s-m-02", "kubeadm.status", Reaction(foreign))
    cluster.master.react("saw-k8s-m-03", "preflight.findings", Reaction(told(ahead_s=60)))
    cluster.master.react("saw-k8s-w-01", "preflight.findings", Reaction(told(unreached=blocked)))
    cluster.master.react("saw-k8s-w-04", "preflight.findings", Reaction("ip: not found", ok=False))
    problems = dict(failure(cluster.ready))
    assert problems["saw-k8s-m-01"] == "port 6443 is taken by nginx (TCP 6443): w"
    assert problems["saw-k8s-m-02"].startswith("another cluster's CA")
    assert "s ahead of the master's" in problems["saw-k8s-m-03"]
    assert problems["saw-k8s-w-02"].startswith("no way from saw-k8s-w-01")
    assert "ip: not found" in problems["saw-k8s-w-04"]
    assert len(problems) == 5


def test_the_balancers_and_the_others_are_asked_once_each_at_the_same_time(cluster):
    cluster.ready()
    balancer, others = (sent for sent in cluster.master.sent if "preflight.findings" in sent.function)
    assert (balancer.targets, balancer.function) == (("saw-k8s-ha-01",), "preflight.findings")
    assert (len(others.targets), others.function) == (7, "preflight.findings,kubeadm.status")
    assert balancer.at == others.at


def test_nodes_are_told_who_is_up(cluster):
    cluster.ready()
    balancer, others = (sent for sent in cluster.master.sent if "preflight.findings" in sent.function)
    assert balancer.kwarg["peers"] == others.arg[0][0]["peers"] == list(cluster.run.table.all)


def test_some_nodes_alone_can_be_looked_at(cluster):
    readiness.minions_answer(cluster.run, 60)
    told = readiness.preflight(cluster.run, ["saw-k8s-w-04"])
    assert told.comment.startswith("nothing stands in the way on 1 nodes")
    (asked,) = (sent for sent in cluster.master.sent if "preflight.findings" in sent.function and sent.targets)
    assert asked.targets == ("saw-k8s-w-04",) and len(asked.arg[0][0]["peers"]) == 8


def test_a_late_answer_is_no_skewed_clock(cluster):
    cluster.master.react("saw-k8s-w-01", "preflight.findings", Reaction(told(), after_s=80))
    cluster.master.react("saw-k8s-w-01", "preflight.clock", Reaction(lambda _: EPOCH + cluster.clock.now))
    assert cluster.ready().result is True
    assert [sent.targets for sent in cluster.master.calls("preflight.clock")] == [("saw-k8s-w-01",)]


def test_a_skew_behind_a_late_answer_is_found_by_asking_again(cluster):
    cluster.master.react("saw-k8s-w-01", "preflight.findings", Reaction(told(), after_s=80))
    cluster.master.react("saw-k8s-w-01", "preflight.clock", Reaction(lambda _: EPOCH + cluster.clock.now + 50))
    assert failure(cluster.ready)[0][1].startswith("the clock is 50 s ahead of the master's")


def test_a_clock_that_stays_unclear_is_no_finding(cluster):
    cluster.master.react("saw-k8s-w-01", "preflight.findings", Reaction(told(), after_s=80))
    slow = Reaction(lambda _: EPOCH + cluster.clock.now, after_s=80)
    cluster.master.react("saw-k8s-w-01", "preflight.clock", slow)
    assert cluster.ready().result is True
    assert len(cluster.master.calls("preflight.clock")) == readiness.CLOCK_ROUNDS


def test_examined_tells_of_silent_nodes_and_of_the_others(cluster):
    cluster.silence("saw-k8s-w-01")
    cluster.master.accepted.discard("saw-k8s-w-02")
    cluster.master.react("saw-k8s-w-03", SYNC, Reaction("no space left on device", ok=False))
    cluster.master.react("saw-k8s-w-03", "preflight.findings", Reaction(told(FOUND)))
    cluster.master.react("saw-k8s-m-01", "preflight.findings", Reaction(told(FOUND)))
    with pytest.raises(StageError) as err:
        readiness.examined(cluster.run, 10)
    found = {problem.node: (problem.step, problem.code) for problem in err.value.problems}
    assert found == {
        "saw-k8s-w-02": ("Key of the minion", "minion-key-missing"),
        "saw-k8s-w-01": ("Answer of the minion", "minion-silent"),
        "saw-k8s-w-03": ("Modules and pillar", "modules-not-handed-out"),
        "saw-k8s-m-01": ("Preflight", "port-taken"),
    }


def test_examined_with_nothing_in_the_way(cluster):
    assert readiness.examined(cluster.run, 10).comment.startswith("nothing stands in the way on 8 nodes")


def test_preflight_learns_who_belongs_to_the_cluster(cluster):
    cluster.master.react("saw-k8s-m-01", "kubeadm.status", Reaction(MEMBER))
    assert "1 belong to the cluster already" in cluster.ready().comment
    assert stages.picture(cluster.run).source == "saw-k8s-m-01"


def test_in_test_mode_new_nodes_are_not_asked_what_they_cannot_answer(tmp_path):
    cluster = Cluster(tmp_path, test=True)
    cluster.master.react("saw-k8s-w-01", "sys.list_functions", Reaction([]))
    told = cluster.ready()
    assert told.comment.endswith("not asked, because they have no modules yet: saw-k8s-w-01")
    assert all("saw-k8s-w-01" not in sent.targets for sent in cluster.master.sent if "preflight" in sent.function)
    assert cluster.master.calls(SYNC) == []


# -- the bring-up


def test_a_bring_up_from_bare_machines(cluster):
    cluster.ready()
    for stage in STAGES:
        stages.reached(cluster.run, stage)
    order = [sls for sls, _ in cluster.applied()]
    assert order.index(("kubeadm.initialised",)) < order.index(("kubeadm.joined",)) < order.index(("metallb",))
    assert order[-1] == ("verification",)
    joins = [nodes for sls, nodes in cluster.applied() if sls == ("kubeadm.joined",)]
    assert sorted(joins) == [("saw-k8s-m-02",), ("saw-k8s-m-03",), tuple(f"saw-k8s-w-0{n}" for n in range(1, 5))]
    assert len(cluster.master.calls("kubeadm.revoke_join_material")) == 1


def test_a_failed_join_still_revokes_the_material(cluster):
    cluster.ready()
    failed = Reaction(
        {"kubeadm_|-Joined_|-x_|-joined": {"__id__": "Joined", "result": False, "comment": "no etcd"}}, ok=False
    )
    original = cluster.master._reaction
    cluster.master._reaction = lambda node, fun: (
        failed
        if (node, fun) == ("saw-k8s-w-03", "state.apply") and cluster.run.job.outcomes.get("material")
        else original(node, fun)
    )

    def bring_up():
        for stage in STAGES:
            stages.reached(cluster.run, stage)

    assert ("saw-k8s-w-03", "no etcd") in failure(bring_up)
    assert len(cluster.master.calls("kubeadm.revoke_join_material")) == 1


def test_a_whole_cluster_changes_nothing(tmp_path):
    cluster = Cluster(tmp_path, status=MEMBER)
    cluster.master.react("*", "state.apply", Reaction({}))
    cluster.ready()
    told = [stages.reached(cluster.run, stage) for stage in STAGES]
    assert [t.changes for t in told] == [{}] * len(STAGES)
    assert cluster.master.calls("kubeadm.join_material") == []


def test_test_mode_on_bare_machines_says_what_would_be_done_and_why(tmp_path):
    cluster = Cluster(tmp_path, test=True)
    cluster.ready()
    told = {stage: stages.reached(cluster.run, stage) for stage in STAGES}
    assert all(t.result is None for t in told.values())
    assert (
        "would do: kubeadm init: saw-k8s-m-01 (no control-plane node has the cluster)" in told[plan.INITIALISED].comment
    )
    assert cluster.master.calls("state.apply") == []


def test_test_mode_on_a_whole_cluster_repeats_what_the_nodes_say(tmp_path):
    cluster = Cluster(tmp_path, status=MEMBER, test=True)
    cluster.master.react(
        "*", "state.apply", Reaction(states(A_thing_is_so=True) | {"x": {"result": True, "changes": {}}})
    )
    cluster.master.react(
        "saw-k8s-w-01", "state.apply", Reaction({"a_|-Swap is off_|-b_|-c": {"result": None, "changes": {}}})
    )
    cluster.master.react("saw-k8s-w-02", "state.apply", Reaction({}))
    cluster.ready()
    told = stages.reached(cluster.run, plan.PREPARED)
    assert told.result is None
    assert "would change on saw-k8s-w-01: Swap is off" in told.comment and "saw-k8s-w-02" not in told.comment
    assert all(sent.kwarg["test"] is True for sent in cluster.master.calls("state.apply"))


def test_test_mode_on_a_whole_cluster_without_drift(tmp_path):
    cluster = Cluster(tmp_path, status=MEMBER, test=True)
    cluster.master.react("*", "state.apply", Reaction({}))
    cluster.ready()
    told = [stages.reached(cluster.run, stage) for stage in STAGES]
    assert [(t.result, t.comment) for t in told] == [(True, "nothing to change")] * len(STAGES)
    assert cluster.master.calls("kubeadm.revoke_join_material") == []


# -- applied, called, verified


def test_applied_passes_pillar_and_counts(cluster):
    told = stages.applied(cluster.run, "HAProxy", ("saw-k8s-ha-01",), ["haproxy"], {"a": 1})
    assert told.changes == {"saw-k8s-ha-01": ["A thing"]} and told.comment == "HAProxy: 1 of 1"
    assert cluster.master.calls("state.apply")[0].kwarg["pillar"] == {"a": 1}


def test_applied_in_test_mode_tells_what_would_change(tmp_path):
    cluster = Cluster(tmp_path, test=True)
    assert stages.applied(cluster.run, "HAProxy", ("saw-k8s-ha-01",), ["haproxy"]).result is None
    assert cluster.master.calls("state.apply")[0].kwarg["test"] is True


def test_called_judges_every_answer(cluster):
    cluster.master.react("saw-k8s-w-01", "fact.colour", Reaction("red"))
    cluster.master.react("saw-k8s-w-02", "fact.colour", Reaction("blue"))
    nodes = ("saw-k8s-w-01", "saw-k8s-w-02")
    judge = lambda node, value: None if value == "blue" else f"is {value}"  # noqa: E731
    assert failure(lambda: stages.called(cluster.run, "Colour", nodes, Call("fact.colour"), judge)) == [
        ("saw-k8s-w-01", "is red")
    ]


def test_called_in_test_mode_calls_nothing(tmp_path):
    cluster = Cluster(tmp_path, test=True)
    assert stages.called(cluster.run, "Colour", ("saw-k8s-w-01",), Call("fact.colour")).result is None
    assert cluster.master.sent == []


def verified(cluster, fetch):
    cluster.ready()
    for stage in STAGES:
        stages.reached(cluster.run, stage)
    return stages.verified(cluster.run, 30, fetch)


def test_the_service_is_asked_until_it_answers(cluster):
    answers = iter([OSError("refused"), OSError("timed out"), "hello"])

    def fetch(url):
        assert url == "http://192.168.100.200/"
        if isinstance(answer := next(answers), OSError):
            raise answer
        return answer

    assert verified(cluster, fetch).comment == "http://192.168.100.200/ answers"


def test_a_service_that_never_answers_fails_with_its_last_error(cluster):
    def fetch(url):
        raise OSError("no route to host")

    ((_, cause),) = failure(lambda: verified(cluster, fetch))
    assert cause == "http://192.168.100.200/ did not answer within 30 s (no route to host)"


# -- the record


def test_no_secret_of_a_whole_run_is_in_its_record(tmp_path):
    """Sealed material passes through a run, a node's failure may quote what it was given: neither is kept."""
    sealed, token = "c2VhbGVkIG1hdGVyaWFs", "abcdef.0123456789abcdef"
    cluster = Cluster(tmp_path)
    cluster.master.react(
        "*", "kubeadm.join_material", Reaction(lambda kwarg: dict.fromkeys(kwarg["public_keys"], sealed))
    )
    refused = states(Joined=False)
    next(iter(refused.values()))["comment"] = f"kubeadm join --token {token} --certificate-key {'0f' * 32}: refused"
    good = states(A_thing=True)
    joined = Reaction(lambda kwarg: refused if kwarg["mods"] == ["kubeadm.joined"] else good, after_s=3)
    cluster.master.react("saw-k8s-w-02", "state.apply", joined)
    cluster.run.do("First", lambda: stages.begin(cluster.run))
    cluster.run.do("Ready", cluster.ready)
    for stage in STAGES:
        cluster.run.do(stage, lambda stage=stage: stages.reached(cluster.run, stage))
    text = (cluster.state / "saw-k8s" / "runs" / "7.json").read_text()
    assert "Worker join" in text and "refused" in text
    for secret in (sealed, token, "0f0f", "PEM"):
        assert secret not in text
