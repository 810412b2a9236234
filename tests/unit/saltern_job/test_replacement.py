"""The stages of a replacement on a cluster that is played: who goes when, what is asked, how a cut-off run goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from saltern import record, replacement, stages
from saltern.replacement import Limits
from saltern.rows import KEPT_VARIABLE, Rows
from saltern.run import Keys, StageError
from tests.unit.saltern import definitions
from tests.unit.saltern_job.fakes import FakeMaster, Reaction, states
from tests.unit.saltern_job.test_addition import BOTH, REPORT
from tests.unit.saltern_job.test_removal import FACTS, GONE
from tests.unit.saltern_job.test_run import Scene
from tests.unit.saltern_job.test_stages import SYNC, SYNCED

BALANCER, FIRST, SECOND, THIRD, WORKER = (f"saw-k8s-{name}" for name in ("ha-01", "m-01", "m-02", "m-03", "w-04"))
OTHER_BALANCER = "saw-k8s-ha-02"
MASTERS = (FIRST, SECOND, THIRD)
TITLES = ["Begin", "Plan", "Replace", "End"]
PATIENT = Limits(1e6, 1e6, 300)
READS = {"test.ping", SYNC, "kubeadm.status", "kube_node.standing", "etcd_member.standing", "preflight.findings"}
READS |= {BOTH, "saltutil.find_job"}
# As salt-cloud 3008.3 prints it. A machine that is made again has another number here, by which its key is known.
SALT_CLOUD = """
import json, os, pathlib, sys
state = pathlib.Path(sys.argv[1])
machines = json.loads(state.read_text())
words = sys.argv[2:]
with state.with_name("calls").open("a") as log:
    log.write(" ".join(words[:1] + words[2:3]) + " " + os.environ.get("SALTERN_KEPT_ROW", "-") + chr(10))
def tell(entries):
    print(json.dumps({"my-proxmox-config": {"proxmox": entries}} if entries else {}))
if words[0] in ("-f", "-Q"):
    tell(machines)
elif words[0] == "-d":
    del machines[words[2]]
    tell({words[2]: {"removed": ["machine"]}})
elif words[0] == "-P":
    map_ = json.loads(pathlib.Path(words[2]).read_text())
    made = {}
    for name in [name for names in map_.values() for name in names if name not in machines]:
        if state.with_name("storage-full").exists():
            made[name] = {"Error": "the storage is full"}
            continue
        number = 1000 + len(state.with_name("calls").read_text().splitlines())
        machines[name] = made[name] = {"id": number, "state": "running"}
    print(json.dumps(made))
state.write_text(json.dumps(machines))
"""


class MasterWithKeys(FakeMaster):
    """Accepts the key of each machine that exists: a new machine, a new key."""

    machines: Any = None

    def keys(self) -> Keys:
        return Keys({name: f"PEM of {name}, {machine['id']}" for name, machine in self.machines().items()})

    def publish(self, targets, function, arg, kwarg):
        self.accepted = set(self.machines())
        return super().publish(targets, function, arg, kwarg)


class Played(Scene):
    """A cluster of the shipped table that runs; what is done to it is remembered in ``log``."""

    def __init__(self, directory: Path, jid: str = "7", state: Played | None = None, **pillar: object) -> None:
        super().__init__(directory, orchestration="orchestrate.node_replace")
        self.pillar, self.run.jid, self.run.titles = pillar, jid, TITLES
        self.cloud = directory / "machines.json"
        table = self.run.table
        if state is None:
            machines = {name: {"id": number, "state": "running"} for number, name in enumerate(table.all, 101)}
            self.cloud.write_text(json.dumps(machines))
        self.joined = state.joined if state else {name: self.machine(name) for name in table.kubernetes}
        self.nodes = state.nodes if state else set(table.kubernetes)
        self.etcd = state.etcd if state else set(table.control_plane)
        self.log: list[str] = state.log if state else []
        self.sick = state.sick if state else set()
        self.facts: dict[str, dict[str, Any]] = {}
        self.master = MasterWithKeys(self.clock)
        self.master.machines = self.machines
        self.play()

    def machines(self) -> dict[str, Any]:
        return json.loads(self.cloud.read_text())

    def machine(self, name: str) -> int | None:
        return self.machines().get(name, {}).get("id")

    def switch_off(self, name: str) -> None:
        machines = self.machines()
        machines[name]["state"] = "stopped"
        self.cloud.write_text(json.dumps(machines))
        self.master.react(name, "*", Reaction(silent=True, alive=False))

    def is_member(self, name: str) -> bool:
        return self.joined.get(name) is not None and self.joined[name] == self.machine(name)

    def whole(self) -> set[str]:
        """Control-plane nodes that serve."""
        return {name for name in MASTERS if self.is_member(name) and name in self.etcd - self.sick}

    def play(self) -> None:
        react = self.master.react
        react("*", SYNC, Reaction(SYNCED))
        react("*", "preflight.findings", Reaction(REPORT))
        react("*", "kube_node.standing", Reaction(self.standing))
        react("*", "etcd_member.standing", Reaction(lambda kwarg: self.members()))
        react("*", "etcd_member.remove", Reaction(self.dismiss))
        react("*", "kube_node.delete", Reaction(self.delete))
        react("*", "kube_node.cordon", Reaction(lambda kwarg: self.note("cordon", kwarg["names"])))
        react("*", "kube_node.drain", Reaction(lambda kwarg: self.note("drain", [kwarg["name"]])))
        react("*", "kube_node.release", Reaction(lambda kwarg: self.note("release", kwarg["names"])))
        react("*", "kubeadm.join_material", Reaction(lambda kwarg: dict.fromkeys(kwarg["public_keys"], "x")))
        react("*", "kubeadm.ca_certificate", Reaction("PEM of the authority"))
        for name in self.run.table.all:
            react(name, "kubeadm.status", Reaction(lambda kwarg, name=name: self.status(name)))
            both = Reaction(
                lambda kwarg, name=name: {"preflight.findings": REPORT, "kubeadm.status": self.status(name)}
            )
            react(name, BOTH, both)
            react(name, "state.apply", Reaction(lambda kwarg, name=name: self.apply(name, kwarg["mods"])))

    def note(self, what: str, names: list[str]) -> str:
        self.log.append(f"{what} {' '.join(names)}")
        return "done"

    def status(self, name: str) -> dict[str, Any]:
        healthy = name in self.whole() if name in MASTERS else self.is_member(name)
        return {
            "joined": self.is_member(name),
            "healthy": healthy,
            "unhealthy": [] if healthy else ["its etcd is away"],
        }

    def standing(self, kwarg: dict[str, Any]) -> dict[str, Any]:
        return {name: self.facts.get(name, FACTS) if name in self.nodes else GONE for name in kwarg["names"]}

    def members(self) -> list[dict[str, Any]]:
        healthy = {name: name not in self.sick and self.is_member(name) for name in sorted(self.etcd)}
        return [{"name": n, "id": "a", "learner": False, "peer_urls": [], "healthy": ok} for n, ok in healthy.items()]

    def dismiss(self, kwarg: dict[str, Any]) -> str:
        others = set(MASTERS) - {kwarg["name"]}
        assert others <= self.whole(), f"{kwarg['name']} leaves while only {self.whole()} are whole"
        self.etcd.discard(kwarg["name"])
        return self.note("dismiss", [kwarg["name"]])

    def delete(self, kwarg: dict[str, Any]) -> list[str]:
        assert not set(kwarg["names"]) & set(self.machines()), "a Node goes after its machine"
        self.nodes -= set(kwarg["names"])
        self.note("forget", kwarg["names"])
        return kwarg["names"]

    def apply(self, name: str, mods: list[str]) -> dict[str, Any]:
        if mods == ["kubeadm.joined"]:
            self.joined[name] = self.machine(name)
            self.nodes.add(name)
            self.etcd |= {name} & set(MASTERS)
        self.log.append(f"{name}: {','.join(mods)}")
        return states(done=True)

    @property
    def salt_cloud(self) -> list[str]:
        return [sys.executable, "-c", SALT_CLOUD, str(self.cloud)]

    def cloud_calls(self, word: str) -> list[str]:
        """The words behind ``-d`` or ``-P`` of each such call."""
        calls = self.cloud.with_name("calls").read_text().splitlines()
        return [line.removeprefix(f"{word} ") for line in calls if line.startswith(word)]

    def work(self) -> list[Any]:
        """The stages of the orchestration, up to the first that fails; what each told."""
        works = [
            lambda: replacement.begin(self.run, self.pillar),
            lambda: replacement.planned(self.run, self.salt_cloud),
            lambda: replacement.replaced(self.run, self.salt_cloud, PATIENT),
            lambda: stages.end(self.run),
        ]
        told = []
        for title, one in zip(TITLES, works, strict=True):
            told.append(self.run.do(title, one))
            if told[-1].result is False:
                break
        return told

    def again(self, jid: str = "8", **pillar: object) -> Played:
        """A later run on what this one left."""
        return Played(self.cloud.parent, jid, self, **(pillar or self.pillar))


def succeeded(scene: Played) -> bool:
    told = scene.work()
    assert [one.result for one in told] == [True] * 4, told[-1].comment
    return True


def renewed(scene: Played, before: dict[str, Any]) -> set[str]:
    now = scene.machines()
    assert set(now) == set(before)
    return {name for name in now if now[name]["id"] != before[name]["id"]}


def failure(scene: Played) -> str:
    told = scene.work()[-1]
    assert told.result is False
    return str(told.comment)


# -- a node goes and comes


def test_a_worker_goes_as_in_a_removal_and_comes_as_in_an_addition(tmp_path):
    scene = Played(tmp_path, node=WORKER, confirm=True)
    before = scene.machines()
    assert succeeded(scene)
    assert renewed(scene, before) == {WORKER}
    assert scene.log == [
        f"cordon {WORKER}", f"drain {WORKER}", f"forget {WORKER}", f"{WORKER}: os,binaries,crio,kubelet",
        f"{WORKER}: kubeadm.joined", f"{WORKER}: cilium.node", f"{FIRST}: cluster.marked",
    ]  # fmt: skip
    assert scene.record()["result"] == "succeeded"


def test_a_control_plane_node_leaves_haproxy_and_etcd_and_comes_back_to_both(tmp_path):
    scene = Played(tmp_path, node=FIRST, confirm=True)
    assert succeeded(scene)
    log = scene.log
    told = [index for index, line in enumerate(log) if line.startswith(f"{BALANCER}: haproxy")]
    assert (
        told[0] < log.index(f"dismiss {FIRST}") < log.index(f"forget {FIRST}") < log.index(f"{FIRST}: kubeadm.joined")
    )
    assert len(told) == 2 and told[1] > log.index(f"{FIRST}: kubeadm.joined")
    without, back = [sent for sent in scene.master.calls("state.apply") if sent.targets == (BALANCER,)]
    assert len(without.kwarg["pillar"]["saltern"]["haproxy"]["backends"][0]["servers"]) == 2
    assert "pillar" not in back.kwarg
    (up,) = scene.master.calls("haproxy.wait_up")
    assert (up.targets, up.kwarg["names"]) == ((BALANCER,), [FIRST])
    assert not [line for line in log if "os.hosts" in line and not line.startswith((BALANCER, *MASTERS))]


def test_the_whole_control_plane_is_replaced_one_after_the_other(tmp_path):
    """etcd's members are counted at each removal, in Played.dismiss."""
    scene = Played(tmp_path, nodes=list(MASTERS), confirm=True)
    before = scene.machines()
    assert succeeded(scene)
    assert renewed(scene, before) == set(MASTERS)
    order = [
        line for line in scene.log if line.startswith(("dismiss", *(f"{name}: kubeadm.joined" for name in MASTERS)))
    ]
    assert order == [line for name in MASTERS for line in (f"dismiss {name}", f"{name}: kubeadm.joined")]


def test_a_dead_control_plane_node_goes_before_one_that_is_well(tmp_path):
    scene = Played(tmp_path, nodes=[FIRST, SECOND], confirm=True, force=True)
    scene.switch_off(SECOND)
    scene.sick.add(SECOND)
    scene.facts[SECOND] = FACTS | {"ready": False, "reason": "Kubelet stopped posting node status."}
    # Its new machine answers again.
    original = scene.delete

    def revived(kwarg):
        scene.sick.discard(SECOND)
        scene.facts.pop(SECOND, None)
        scene.master.rules = [rule for rule in scene.master.rules if rule[:2] != (SECOND, "*")]
        return original(kwarg)

    scene.master.react("*", "kube_node.delete", Reaction(revived))
    assert succeeded(scene)
    assert [line for line in scene.log if line.startswith(("drain", "dismiss"))] == [
        f"dismiss {SECOND}", f"drain {FIRST}", f"dismiss {FIRST}"
    ]  # fmt: skip


def test_the_only_load_balancer_is_replaced_by_force_without_the_api(tmp_path):
    scene = Played(tmp_path, node=BALANCER, confirm=True, force=True)
    for name in MASTERS:  # the API cannot be reached: its address is the load balancer's
        away = {"joined": True, "healthy": False, "unhealthy": ["the cluster could not be asked"]}
        scene.master.react(name, "kubeadm.status", Reaction(away))
    for function in ("kube_node.standing", "etcd_member.standing", "kube_node.delete"):
        scene.master.react("*", function, Reaction("no answer from the API", ok=False))
    before = scene.machines()
    assert succeeded(scene)
    assert renewed(scene, before) == {BALANCER}
    assert scene.log == [f"{BALANCER}: os,haproxy", f"{BALANCER}: haproxy.trusted"]
    assert scene.master.calls("haproxy.wait_up")[0].kwarg["names"] == []


def test_of_two_load_balancers_one_goes_only_while_the_other_serves(tmp_path):
    scene = Played(tmp_path, node=BALANCER, confirm=True)
    row = {"role": "load_balancer", "address": "192.168.100.148", "cpus": 2, "memory_gib": 4, "disk_gib": 20}
    pair = {"cluster": {"virtual_address": "192.168.100.149"}, "nodes": {OTHER_BALANCER: row}}
    definitions.write(tmp_path / "overlay", cluster=pair)
    scene.run.reread()
    scene.cloud.write_text(json.dumps(scene.machines() | {OTHER_BALANCER: {"id": 150, "state": "running"}}))
    down = "HAProxy sends it nothing after 60 s: saw-k8s-m-01 is DOWN"
    scene.master.react(OTHER_BALANCER, "haproxy.wait_up", Reaction(down, ok=False))
    assert f"{OTHER_BALANCER}: HAProxy sends requests to an API server: {down}" in failure(scene)
    assert scene.cloud_calls("-d") == []
    later = scene.again()
    assert succeeded(later)
    assert [line.split()[0] for line in later.cloud_calls("-d")] == [BALANCER]
    assert later.log == [f"{BALANCER}: os,haproxy,keepalived", f"{BALANCER}: haproxy.trusted"]


def test_a_row_that_the_product_wrote_stays(tmp_path):
    scene = Played(tmp_path, node="saw-k8s-w-05", confirm=True)
    rows = Rows(scene.state, "saw-k8s")
    rows.add(
        "saw-k8s-w-05", {"role": "worker", "address": "192.168.100.160", "cpus": 2, "memory_gib": 16, "disk_gib": 20}
    )
    machines = scene.machines() | {"saw-k8s-w-05": {"id": 150, "state": "running"}}
    scene.cloud.write_text(json.dumps(machines))
    scene.run.reread()
    scene.play()
    scene.joined["saw-k8s-w-05"] = 150
    scene.nodes.add("saw-k8s-w-05")
    assert succeeded(scene)
    assert list(rows.rows()) == ["saw-k8s-w-05"]
    # The driver, which would remove the row too, is told.
    assert KEPT_VARIABLE == "SALTERN_KEPT_ROW"
    assert scene.cloud_calls("-d") == ["saw-k8s-w-05 saw-k8s-w-05"]


# -- before anything is changed


def test_without_confirmation_nothing_is_changed(tmp_path):
    scene = Played(tmp_path, nodes=[FIRST, WORKER])
    begun, plan, done, _ = scene.work()
    assert (begun.result, plan.result, done.result) == (True, None, None)
    for line in (
        f"Replacement in saw-k8s, one after the other: {FIRST}, {WORKER}",
        f"{WORKER} (worker, 192.168.100.157): machine 108 with its disks",
        f"{FIRST} (control plane, 192.168.100.151): a new machine of its row, 2 CPUs, 8 GiB memory, 20 GiB disk",
        "etcd has 2 of 3 members while one is away, of which 0 may fail",
        "Nothing was changed. To do it: salt-run state.orchestrate orchestrate.node_replace "
        f"""pillar='{{"nodes": ["{FIRST}", "{WORKER}"], "confirm": true}}'""",
    ):
        assert line in plan.comment
    assert {sent.function for sent in scene.master.sent} <= READS
    assert scene.cloud_calls("-d") == scene.cloud_calls("-P") == []
    assert list((scene.state / "saw-k8s" / "runs").iterdir()) == []


def test_what_forbids_it_is_told_before_anything_is_changed(tmp_path):
    scene = Played(tmp_path, node=FIRST, confirm=True)
    scene.sick.add(SECOND)
    said = failure(scene)
    assert f"{FIRST}: Replacement: the rest of the control plane is not whole ({SECOND} is not healthy" in said
    assert "replacement-refused.md" in said
    assert scene.log == [] and scene.cloud_calls("-d") == []


def test_a_name_without_a_row_is_told(tmp_path):
    said = failure(Played(tmp_path, nodes=["saw-k8s-w-99", WORKER], confirm=True))
    assert said.startswith("saw-k8s-w-99: the table has no such row, so nobody knows what should come")


def test_stages_in_the_wrong_order_are_a_message(tmp_path):
    scene = Played(tmp_path, node=WORKER, confirm=True)
    with pytest.raises(StageError, match="no node was named"):
        replacement.planned(scene.run, scene.salt_cloud)
    replacement.begin(scene.run, scene.pillar)
    with pytest.raises(StageError, match="no stage has planned it yet"):
        replacement.replaced(scene.run, scene.salt_cloud, PATIENT)
    scene.run.close(record.SUCCEEDED)


# -- what fails, and how it goes on


def test_a_drain_that_fails_destroys_nothing_and_gives_the_cordon_back(tmp_path):
    scene = Played(tmp_path, node=WORKER, confirm=True)
    scene.master.react("*", "kube_node.drain", Reaction("held by PodDisruptionBudget db", ok=False))
    assert "held by PodDisruptionBudget db" in failure(scene)
    assert scene.log == [f"cordon {WORKER}", f"release {WORKER}"]
    assert scene.cloud_calls("-d") == []


def test_a_machine_that_could_not_be_made_is_made_by_the_same_command(tmp_path):
    scene = Played(tmp_path, node=SECOND, confirm=True)
    (tmp_path / "storage-full").touch()
    said = failure(scene)
    again = f"""salt-run state.orchestrate orchestrate.node_replace pillar='{{"node": "{SECOND}", "confirm": true}}'"""
    assert f"{SECOND}: Machine: the storage is full" in said and again in said
    (tmp_path / "storage-full").unlink()
    later = scene.again()
    assert succeeded(later)
    assert later.cloud_calls("-d") == [f"{SECOND} {SECOND}"], "what was gone was not destroyed again"
    assert later.whole() == set(MASTERS)


def test_a_run_that_goes_on_leaves_alone_what_was_done(tmp_path):
    """Killed while the second one's machine was away: the first one keeps its new machine."""
    scene = Played(tmp_path, nodes=list(MASTERS), confirm=True)
    original = scene.master.rules

    def kill(kwarg):
        if kwarg["names"] == [SECOND]:
            raise SystemExit("killed")
        return scene.delete(kwarg)

    scene.master.react("*", "kube_node.delete", Reaction(kill))
    with pytest.raises(SystemExit):
        scene.work()
    assert original and scene.record()["replacement"]["done"] == [FIRST]
    middle = scene.machines()
    assert SECOND not in middle

    later = scene.again()
    told = later.work()
    assert told[-1].result is True, told[-1].comment
    assert "goes on with what was begun at 20" in told[1].comment
    assert f"replaced since then, and left alone: {FIRST}" in told[1].comment
    after = later.machines()
    assert after[FIRST] == middle[FIRST] and after[THIRD] != middle[THIRD]
    assert later.whole() == set(MASTERS)

    # The record of a run that ended well begins no other: who types it again wants it again.
    once_more = later.again("9")
    assert succeeded(once_more)
    assert once_more.machines()[FIRST] != after[FIRST]


def test_a_machine_that_is_new_already_is_only_brought_into_the_cluster(tmp_path):
    """Killed while it joined, or orchestrate.cluster made the machine meanwhile."""
    scene = Played(tmp_path, nodes=[FIRST, SECOND], confirm=True)
    scene.master.react(FIRST, "state.apply", Reaction("the disk is full", ok=False))
    assert "the disk is full" in failure(scene)
    new = scene.machine(FIRST)

    later = scene.again()
    assert succeeded(later)
    assert later.machine(FIRST) == new
    assert later.cloud_calls("-d") == [f"{FIRST} {FIRST}", f"{SECOND} {SECOND}"]
    assert later.whole() == set(MASTERS)


def test_another_request_or_the_word_anew_begins_at_the_beginning(tmp_path):
    scene = Played(tmp_path, node=WORKER, confirm=True)
    scene.master.react(WORKER, "state.apply", Reaction("the disk is full", ok=False))
    failure(scene)
    new = scene.machine(WORKER)
    later = scene.again(node=WORKER, confirm=True, anew=True)
    assert '"anew"' not in (later.work()[1].comment + later.run.again)
    assert later.machine(WORKER) != new


def test_a_control_plane_node_that_does_not_become_whole_stops_the_run(tmp_path):
    scene = Played(tmp_path, nodes=[FIRST, SECOND], confirm=True)
    original = scene.apply

    def sickly(kwarg):
        scene.sick.add(FIRST)
        return original(FIRST, kwarg["mods"])

    scene.master.react(FIRST, "state.apply", Reaction(sickly))
    said = failure(scene)
    assert f"{FIRST}: Replacement: after 180 s it is not healthy (its etcd is away)" in said
    assert "replacement-not-whole.md" in said
    assert f"dismiss {SECOND}" not in scene.log


def test_an_interrupt_after_a_node_was_done_takes_nothing_back(tmp_path):
    scene = Played(tmp_path, nodes=[FIRST, SECOND], confirm=True)

    def interrupted(kwarg):
        if kwarg["name"] == SECOND:
            raise KeyboardInterrupt
        return scene.note("drain", [kwarg["name"]])

    scene.master.react("*", "kube_node.drain", Reaction(interrupted))
    with pytest.raises(KeyboardInterrupt):
        scene.work()
    assert [line for line in scene.log if line.startswith("release")] == [f"release {SECOND}"]
    assert scene.record()["result"] == "interrupted"
