"""The stages of a rolling restart on a cluster that is played: who is away when, what is waited for, how it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saltern import record, restart, stages
from saltern.restart import Limits
from saltern.run import StageError
from tests.unit.saltern import definitions
from tests.unit.saltern_job.fakes import FakeMaster, Reaction
from tests.unit.saltern_job.test_removal import FACTS
from tests.unit.saltern_job.test_run import Scene
from tests.unit.saltern_job.test_stages import SYNC, SYNCED

BALANCER, FIRST, SECOND, THIRD = (f"saw-k8s-{name}" for name in ("ha-01", "m-01", "m-02", "m-03"))
OTHER_BALANCER = "saw-k8s-ha-02"
MASTERS = (FIRST, SECOND, THIRD)
W1, W2, W3, W4 = WORKERS = tuple(f"saw-k8s-w-0{number}" for number in range(1, 5))
TITLES = ["Begin", "Plan", "Restart", "End"]
BOOT_S = 40.0
READS = {"test.ping", SYNC, "kubeadm.status", "kube_node.standing", "etcd_member.standing", "os_restart.boot"}
NOTED = {"os_package.upgrade": "upgrade", "turn.take": "turn", "turn.give_back": "back"}
HELD = {"containers": ["0a1b2c3d4e5f6"], "unready": []}


class Rebooting(FakeMaster):
    """Hears nothing of nodes that are between two boots."""

    played: Any = None

    def _reaction(self, node: str, function: str) -> Reaction:
        if self.clock.now < self.played.away.get(node, 0.0):
            return Reaction(silent=True, alive=False)
        return super()._reaction(node, function)


class Played(Scene):
    """A cluster of the shipped table that runs; what is done to it is remembered in ``log``."""

    def __init__(self, directory: Path, jid: str = "7", earlier: Played | None = None, **pillar: object) -> None:
        super().__init__(directory, orchestration="orchestrate.node_restart")
        self.pillar, self.run.jid, self.run.titles = pillar, jid, TITLES
        self.boots: dict[str, int] = earlier.boots if earlier else dict.fromkeys(self.run.table.all, 1)
        self.cordons: set[str] = earlier.cordons if earlier else set()
        self.log: list[str] = earlier.log if earlier else []
        # Until when who is away, by this run's clock.
        self.away: dict[str, float] = {}
        self.sick: set[str] = set()
        # Whom the load balancers send nothing new.
        self.drained: set[str] = earlier.drained if earlier else set()
        self.facts: dict[str, dict[str, Any]] = {}
        self.learners: list[dict[str, Any]] = []
        self.master = Rebooting(self.clock, accepted=set(self.run.table.all))
        self.master.played = self
        self.play()

    def play(self) -> None:
        react = self.master.react
        react("*", SYNC, Reaction(SYNCED))
        react("*", "kube_node.standing", Reaction(self.standing))
        react("*", "etcd_member.standing", Reaction(lambda kwarg: self.members()))
        react("*", "kube_node.cordon", Reaction(lambda kwarg: self.cordon(kwarg["names"])))
        react("*", "kube_node.drain", Reaction(lambda kwarg: self.note("drain", kwarg["name"])))
        react("*", "kube_node.release", Reaction(lambda kwarg: self.release(kwarg["names"])))
        react("*", "kube_restart.before", Reaction(HELD))
        react("*", "kube_restart.take_back", Reaction(self.take_back))
        react("*", "haproxy.wait_up", Reaction(lambda kwarg: self.up(kwarg["names"])))
        react("*", "haproxy_drain.drain", Reaction(lambda kwarg: self.direct("elsewhere", kwarg["names"])))
        react("*", "haproxy_drain.resume", Reaction(lambda kwarg: self.direct("back", kwarg["names"])))
        for name in self.run.table.all:
            react(name, "kubeadm.status", Reaction(lambda kwarg, name=name: self.status(name)))
            react(name, "os_restart.boot", Reaction(lambda kwarg, name=name: f"boot {self.boots[name]}"))
            react(name, "os_restart.order", Reaction(lambda kwarg, name=name: self.order(name)))
            for function, word in NOTED.items():
                react(name, function, Reaction(lambda kwarg, name=name, word=word: self.note(word, name)))

    def note(self, what: str, name: str) -> str:
        self.log.append(f"{what} {name}")
        return "done"

    def is_away(self, name: str) -> bool:
        return self.clock.now < self.away.get(name, 0.0)

    def direct(self, where: str, names: list[str]) -> dict[str, str]:
        self.drained = self.drained | set(names) if where == "elsewhere" else self.drained - set(names)
        self.log.append(f"directed {where} {' '.join(names)}")
        return dict.fromkeys(names, "done")

    def up(self, names: list[str]) -> list[str]:
        assert not self.drained & set(names), f"{self.drained} are sent nothing"
        return names

    def cordon(self, names: list[str]) -> dict[str, str]:
        self.cordons |= set(names)
        self.log.append(f"cordon {' '.join(names)}")
        return dict.fromkeys(names, "cordoned")

    def release(self, names: list[str]) -> list[str]:
        self.cordons -= set(names)
        self.log.append(f"release {' '.join(names)}")
        return names

    def order(self, name: str) -> str:
        gone = {other for other in self.run.table.all if self.is_away(other)}
        assert name in WORKERS or not gone, f"{name} goes while {gone} are away"
        assert not gone & set(MASTERS), f"{name} goes while {gone} are away"
        assert name in self.cordons or name == BALANCER, f"{name} goes with its pods"
        assert name in self.drained or name not in MASTERS, f"{name} goes while it is sent requests"
        self.boots[name] += 1
        self.away[name] = self.clock.now + BOOT_S
        self.note("restart", name)
        return "boot"

    def take_back(self, kwarg: dict[str, Any]) -> str:
        assert not self.is_away(kwarg["name"])
        self.cordons.discard(kwarg["name"])
        return self.note("take back", kwarg["name"])

    def standing(self, kwarg: dict[str, Any]) -> dict[str, Any]:
        return {name: FACTS | self.facts.get(name, {}) for name in kwarg["names"]}

    def is_well(self, name: str) -> bool:
        return not self.is_away(name) and name not in self.sick

    def status(self, name: str) -> dict[str, Any]:
        well = self.is_well(name)
        return {"joined": True, "healthy": well, "unhealthy": [] if well else ["its etcd is away"]}

    def members(self) -> list[dict[str, Any]]:
        whole = [{"name": n, "id": "a", "learner": False, "peer_urls": [], "healthy": self.is_well(n)} for n in MASTERS]
        return whole + self.learners

    def work(self) -> list[Any]:
        """The stages of the orchestration, up to the first that fails; what each told."""
        works = [
            lambda: restart.begin(self.run, self.pillar),
            lambda: restart.planned(self.run),
            lambda: restart.restarted(self.run, Limits()),
            lambda: stages.end(self.run),
        ]
        told: list[Any] = []
        for title, work in zip(TITLES, works, strict=True):
            told.append(self.run.do(title, work))
            if told[-1].result is False:
                break
        return told

    def again(self, jid: str = "8", **pillar: object) -> Played:
        """A later run on what this one left."""
        self.log.clear()
        return Played(self.state.parent, jid, self, **(pillar or self.pillar))

    def restarts(self) -> list[str]:
        return [line.removeprefix("restart ") for line in self.log if line.startswith("restart ")]


def succeeded(scene: Played) -> list[Any]:
    told = scene.work()
    assert [one.result for one in told] == [True] * 4, told[-1].comment
    return told


def failure(scene: Played) -> str:
    told = scene.work()[-1]
    assert told.result is False
    return str(told.comment)


def killed(scene: Played, function: str, at: str) -> None:
    """The run ends the hard way when it asks this of a node: nothing is cleaned up."""

    def kill(kwarg: dict[str, Any]) -> None:
        raise SystemExit("killed")

    scene.master.react(at, function, Reaction(kill))
    scene.run._jobs = Uncleaned()
    with pytest.raises(SystemExit):
        scene.work()


class Uncleaned(list[Any]):
    """The jobs of a run that is killed: nobody cleans up."""

    def __iter__(self) -> Any:
        return iter(())


# -- who is away when


def test_a_worker_is_emptied_restarted_and_taken_back(tmp_path):
    scene = Played(tmp_path, node=W4, confirm=True)
    told = succeeded(scene)
    assert scene.log == [f"cordon {W4}", f"drain {W4}", f"restart {W4}", f"take back {W4}"]
    assert told[2].changes == {W4: "restarted"}
    (back,) = scene.master.calls("kube_restart.take_back")
    assert back.kwarg == {"name": W4, **HELD, "deadline_s": 600}
    assert back.at > BOOT_S
    assert scene.record()["restart"]["done"] == [W4]


def test_all_go_in_the_order_of_the_table_and_workers_by_their_share(tmp_path):
    """That nobody goes while a load balancer or control-plane node is away is seen to in Played.order."""
    scene = Played(tmp_path, all=True, share="50%", confirm=True)
    succeeded(scene)
    assert scene.restarts() == [BALANCER, *MASTERS, *WORKERS]
    assert [line for line in scene.log if line.split()[-1] in (W1, W2)] == [
        f"cordon {W1} {W2}", f"drain {W1}", f"drain {W2}", f"restart {W1}", f"restart {W2}", f"take back {W1}",
        f"take back {W2}",
    ]  # fmt: skip
    assert scene.log.index(f"take back {W2}") < scene.log.index(f"cordon {W3} {W4}")


def test_packages_are_upgraded_once_the_pods_have_moved(tmp_path):
    scene = Played(tmp_path, nodes=[W1, W2], upgrade=True, share=2, confirm=True)
    succeeded(scene)
    assert scene.log[1:7] == [
        f"drain {W1}", f"drain {W2}", f"upgrade {W1}", f"upgrade {W2}", f"restart {W1}", f"restart {W2}"
    ]  # fmt: skip


def test_a_control_plane_node_restarts_in_its_turn_and_haproxy_believes_it_again(tmp_path):
    scene = Played(tmp_path, node=SECOND, confirm=True)
    succeeded(scene)
    assert scene.log == [
        f"cordon {SECOND}", f"drain {SECOND}", f"turn {SECOND}", f"directed elsewhere {SECOND}", f"restart {SECOND}",
        f"directed back {SECOND}", f"take back {SECOND}", f"back {SECOND}",
    ]  # fmt: skip
    told = [sent for name in ("drain", "resume") for sent in scene.master.calls(f"haproxy_drain.{name}")]
    assert [(sent.targets, sent.arg) for sent in told] == [((BALANCER,), ["/run/haproxy-stats.sock"])] * 2
    (up,) = scene.master.calls("haproxy.wait_up")
    assert (up.targets, up.kwarg["names"]) == ((BALANCER,), [SECOND])
    assert {sent.targets for sent in scene.master.calls("kube_node.drain")} == {(FIRST,)}


def test_the_first_control_plane_node_is_not_asked_while_it_restarts(tmp_path):
    scene = Played(tmp_path, node=FIRST, confirm=True)
    succeeded(scene)
    calls = scene.master.calls("kube_node.drain") + scene.master.calls("kube_restart.take_back")
    assert [sent.targets for sent in calls] == [(SECOND,), (SECOND,)]


def test_the_only_control_plane_node_is_asked_before_and_after(tmp_path):
    scene = Played(tmp_path, node=FIRST, confirm=True)
    definitions.write(tmp_path / "overlay", cluster={"nodes": {SECOND: None, THIRD: None}})
    scene.run.reread()
    scene.members = lambda: [{"name": FIRST, "id": "a", "learner": False, "peer_urls": [], "healthy": True}]
    told = succeeded(scene)
    assert f"{FIRST}: it is the only control-plane node: until it is back there is no API" in told[1].comment
    assert scene.restarts() == [FIRST] and scene.cordons == set()


def test_of_two_load_balancers_one_goes_only_while_the_other_serves(tmp_path):
    scene = Played(tmp_path, node=BALANCER, confirm=True)
    row = {"role": "load_balancer", "address": "192.168.100.148", "cpus": 2, "memory_gib": 4, "disk_gib": 20}
    pair = {"cluster": {"virtual_address": "192.168.100.149"}, "nodes": {OTHER_BALANCER: row}}
    definitions.write(tmp_path / "overlay", cluster=pair)
    scene.run.reread()
    scene.master.accepted.add(OTHER_BALANCER)
    down = "HAProxy sends it nothing after 60 s: saw-k8s-m-01 is DOWN"
    scene.master.react(OTHER_BALANCER, "haproxy.wait_up", Reaction(down, ok=False))
    assert f"{OTHER_BALANCER}: HAProxy sends requests to an API server: {down}" in failure(scene)
    assert scene.restarts() == []


# -- before anything is changed


def test_without_confirmation_nothing_is_changed(tmp_path):
    scene = Played(tmp_path, all=True, share=3, upgrade=True)
    web = {"namespace": "shop", "name": "web-1", "owner": "Deployment web", "empty_dir": True, "held": None}
    scene.facts[W1] = {"moves": [web], "unschedulable": True}
    begun, plan, done, _ = scene.work()
    assert (begun.result, plan.result, done.result) == (True, None, None)
    for line in (
        f"{BALANCER} (load balancer): packages upgraded, then restarted",
        f"{W1}, {W2}, {W3} (worker): packages upgraded, then restarted together",
        f"{W4} (worker): packages upgraded, then restarted",
        f"{W1}: shop: Deployment web, 1 pod",
        f"{W1}: emptyDir volumes of shop/web-1",
        "etcd has 2 of 3 members while one restarts, of which 0 may fail",
        f"{BALANCER}: it is the only load balancer: until it is back nobody reaches the API",
        f"{W1}: is cordoned; it stays so unless a run of ours left it",
        "Nothing was changed. To do it: salt-run state.orchestrate orchestrate.node_restart "
        """pillar='{"all": true, "upgrade": true, "share": 3, "confirm": true}'""",
    ):
        assert line in plan.comment
    assert {sent.function for sent in scene.master.sent} <= READS
    assert list((scene.state / "saw-k8s" / "runs").iterdir()) == []


def test_what_forbids_it_is_told_all_at_once_before_anything_is_changed(tmp_path):
    scene = Played(tmp_path, nodes=[FIRST, W1, W2, W3, W4], confirm=True)
    scene.sick.add(SECOND)
    scene.facts[W1] = {"ready": False, "reason": "Kubelet stopped posting node status."}
    scene.facts[W2] = {"registered": False, "ready": False}
    scene.facts[W3] = {"alone": ["shop/shell"]}
    scene.away[W4] = 1e6
    said = failure(scene)
    for text in (
        f"{FIRST}: Restart: the rest of the control plane is not whole ({SECOND} is not healthy (its etcd is away))",
        f"{W1}, {W2}, {W3}, {W4}: Restart: the control plane is not whole ({SECOND} is not healthy",
        f"{W1}: Restart: is not Ready (Kubelet stopped posting node status.): its pods cannot be moved",
        f"{W2}: Restart: it has not joined the cluster",
        f"{W3}: Restart: nothing would make these pods again: shop/shell",
        f"{W4}: Restart: its minion does not answer",
        "restart-refused.md",
    ):
        assert text in said
    assert scene.log == [] and "restart" not in scene.record()


def test_a_control_plane_node_stays_while_another_one_joins(tmp_path):
    scene = Played(tmp_path, node=FIRST, confirm=True)
    scene.learners = [{"name": "saw-k8s-m-04", "id": "b", "learner": True, "peer_urls": [], "healthy": False}]
    assert f"{FIRST}: Restart: saw-k8s-m-04 is a learner of etcd" in failure(scene)


def test_one_that_is_not_whole_goes_first_and_the_others_count_on_it(tmp_path):
    scene = Played(tmp_path, roles=["control_plane"], confirm=True)
    scene.sick.add(THIRD)

    def cure(kwarg):
        scene.sick.discard(THIRD)
        return scene.order(THIRD)

    scene.master.react(THIRD, "os_restart.order", Reaction(cure))
    succeeded(scene)
    assert scene.restarts() == [THIRD, FIRST, SECOND]


def test_without_a_healthy_control_plane_node_nothing_is_tried(tmp_path):
    scene = Played(tmp_path, node=W1, confirm=True)
    scene.sick |= set(MASTERS)
    assert "Restart: no control-plane node is healthy" in failure(scene)


def test_stages_in_the_wrong_order_are_a_message(tmp_path):
    scene = Played(tmp_path, node=W1, confirm=True)
    with pytest.raises(StageError, match="no node was named"):
        restart.planned(scene.run)
    restart.begin(scene.run, scene.pillar)
    with pytest.raises(StageError, match="no stage has planned it yet"):
        restart.restarted(scene.run, Limits())
    scene.run.close(record.SUCCEEDED)


# -- what fails


@pytest.mark.parametrize(
    "function",
    [
        "kube_node.drain", "os_package.upgrade", "kube_restart.before", "turn.take", "haproxy_drain.drain",
        "os_restart.order",
    ],
)  # fmt: skip
def test_what_fails_before_a_node_is_away_is_taken_back(tmp_path, function):
    scene = Played(tmp_path, nodes=[FIRST, W1], upgrade=True, confirm=True)
    scene.master.react("*", function, Reaction("it did not work", ok=False))
    said = failure(scene)
    again = f"""pillar='{{"nodes": ["{FIRST}", "{W1}"], "upgrade": true, "confirm": true}}'"""
    assert "it did not work" in said and f"orchestrate.node_restart {again}" in said
    assert scene.restarts() == [] and scene.cordons == set() and scene.drained == set()
    assert (function == "os_restart.order") == (f"directed elsewhere {FIRST}" in scene.log)
    assert f"turn {FIRST}" not in scene.log or f"back {FIRST}" in scene.log
    assert f"cordon {W1}" not in scene.log


def test_one_that_does_not_come_back_is_named_and_only_awaited_by_the_same_command(tmp_path):
    scene = Played(tmp_path, nodes=[W1, W2], confirm=True)
    scene.master.react(W1, "os_restart.order", Reaction(lambda kwarg: lost(scene, W1)))
    said = failure(scene)
    assert f"{W1}: Restart: its restart was ordered, and its minion has not answered for 600 s" in said
    assert f"salt-cloud -a start {W1}" in said and "node-not-restarted.md" in said
    assert scene.cordons == {W1} and f"cordon {W2}" not in scene.log

    later = scene.again()
    later.away[W1] = 25.0  # somebody has switched it on, and it is still on its way
    told = succeeded(later)
    assert f"{W1} (worker): was restarted already, and is only waited for" in told[1].comment
    assert later.log == [f"take back {W1}", f"cordon {W2}", f"drain {W2}", f"restart {W2}", f"take back {W2}"]
    assert later.master.calls("kube_restart.take_back")[0].kwarg["containers"] == HELD["containers"]


def lost(scene: Played, name: str) -> str:
    scene.boots[name] += 1
    scene.away[name] = 1e6
    return "boot"


def test_one_that_goes_on_running_is_told_from_one_that_is_gone(tmp_path):
    scene = Played(tmp_path, node=W1, confirm=True)
    scene.master.react(W1, "os_restart.order", Reaction("boot"))
    assert f"{W1}: Restart: its restart was ordered, and after 600 s it still runs as before" in failure(scene)
    later = scene.again()
    succeeded(later)
    assert later.restarts() == [W1], "one that has not restarted is restarted"


def test_of_two_one_that_comes_back_is_done_whatever_the_other_does(tmp_path):
    scene = Played(tmp_path, nodes=[W1, W2, W3], share=2, confirm=True)
    scene.master.react(W1, "os_restart.order", Reaction(lambda kwarg: lost(scene, W1)))
    assert f"{W1}: Restart: its restart was ordered" in failure(scene)
    assert scene.cordons == {W1} and scene.record()["restart"]["done"] == [W2]
    later = scene.again()
    succeeded(later)
    assert later.restarts() == [W3]


def test_pods_that_do_not_come_back_are_the_nodes_problem(tmp_path):
    scene = Played(tmp_path, nodes=[W1, W2], share=2, confirm=True)
    told = "does not serve 600 s after its restart: kube-system/cilium-x: agent waits: CrashLoopBackOff"
    scene.master.react(FIRST, "kube_restart.take_back", Reaction(told, ok=False))
    said = failure(scene)
    assert f"{W1}: {W1}: Ready, Cilium and its pods: {told}" in said and f"{W2}: {W2}: Ready" in said
    assert "restart-not-whole.md" in said
    assert scene.cordons == {W1, W2}


def test_a_control_plane_node_that_is_not_whole_again_stops_the_run(tmp_path):
    scene = Played(tmp_path, nodes=[FIRST, SECOND], confirm=True)

    def sickly(kwarg):
        scene.sick.add(FIRST)
        return scene.order(FIRST)

    scene.master.react(FIRST, "os_restart.order", Reaction(sickly))
    said = failure(scene)
    assert f"{FIRST}: Restart: after 300 s it is not healthy (its etcd is away)" in said
    assert "restart-not-whole.md" in said
    assert scene.restarts() == [FIRST] and f"back {FIRST}" not in scene.log


# -- how it goes on


def test_an_api_server_that_a_killed_run_left_drained_is_sent_requests_again(tmp_path):
    scene = Played(tmp_path, nodes=[FIRST, W1], confirm=True)
    killed(scene, "kube_restart.take_back", SECOND)
    scene.drained = {FIRST}
    later = scene.again()
    succeeded(later)
    assert later.log[:2] == [f"directed back {FIRST}", f"take back {FIRST}"] and later.drained == set()


def test_a_run_that_was_killed_restarts_no_node_twice(tmp_path):
    """Killed while the second one was away: the first is left alone, the second taken back, its cordon with it."""
    scene = Played(tmp_path, nodes=[W1, W2, W3], confirm=True)

    def order(kwarg):
        scene.order(W2)
        raise SystemExit("killed")

    scene.master.react(W2, "os_restart.order", Reaction(order))
    scene.run._jobs = Uncleaned()
    with pytest.raises(SystemExit):
        scene.work()
    assert scene.cordons == {W2}

    later = scene.again()
    later.away[W2] = 25.0
    told = succeeded(later)
    assert later.master.calls("kube_restart.take_back")[0].kwarg["containers"] == HELD["containers"]
    assert "goes on with what was begun at 20" in told[1].comment
    assert f"restarted since then, and left alone: {W1}" in told[1].comment
    assert (later.restarts(), later.cordons) == ([W3], set())

    # The record of a run that ended well begins no other: who types it again wants it again.
    once_more = later.again("9")
    succeeded(once_more)
    assert once_more.restarts() == [W1, W2, W3]


def test_a_cordon_that_a_killed_run_left_is_given_back(tmp_path):
    scene = Played(tmp_path, nodes=[W1, W2], confirm=True)
    killed(scene, "kube_node.drain", FIRST)
    assert scene.cordons == {W1} and scene.restarts() == []
    later = scene.again()
    succeeded(later)
    assert (later.restarts(), later.cordons) == ([W1, W2], set())


def test_one_that_restarted_by_itself_since_is_left_alone_unless_packages_are_to_be_upgraded(tmp_path):
    for upgrade, expected in ((False, []), (True, [W2])):
        scene = Played(tmp_path / str(upgrade), nodes=[W1, W2], upgrade=upgrade, confirm=True)
        scene.master.react(FIRST, "kube_restart.take_back", Reaction("no", ok=False))
        failure(scene)
        scene.boots[W2] += 1
        later = scene.again()
        succeeded(later)
        assert later.restarts() == expected


def test_one_that_restarts_by_itself_before_its_turn_is_awaited_out_of_its_own_restart(tmp_path):
    scene = Played(tmp_path, nodes=[W1, W2], confirm=True)

    def taken_back(kwarg):
        if kwarg["name"] == W1:
            scene.boots[W2] += 1
        return scene.take_back(kwarg)

    scene.master.react("*", "kube_restart.take_back", Reaction(taken_back))
    succeeded(scene)
    assert scene.restarts() == [W1, W2]


@pytest.mark.parametrize("pillar", [{"anew": True}, {"upgrade": True}, {"nodes": [W1, W2, W3]}])
def test_another_request_or_the_word_anew_begins_at_the_beginning(tmp_path, pillar):
    asked: dict[str, object] = {"nodes": [W1, W2], "confirm": True}
    scene = Played(tmp_path, **asked)
    scene.master.react(W2, "os_restart.order", Reaction("no", ok=False))
    failure(scene)
    later = scene.again(**(asked | pillar))
    succeeded(later)
    assert W1 in later.restarts()
    assert '"anew"' not in later.run.again


def test_nothing_is_left_to_do_where_the_last_one_only_was_not_taken_back_in_time(tmp_path):
    scene = Played(tmp_path, node=W1, confirm=True)
    scene.master.react(FIRST, "kube_restart.take_back", Reaction("no", ok=False))
    failure(scene)
    later = scene.again()
    succeeded(later)
    assert (later.log, later.cordons) == ([f"take back {W1}"], set())
