"""The stages of a removal on a fake master and a fake salt-cloud: who is asked what, what is left when it fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from saltern import plan, record, removal, unmake
from saltern.plan_remove import DISMISSED, EMPTIED
from saltern.proxmox.journal import Journal
from saltern.rows import Rows
from saltern.run import StageError
from saltern.steps import TransportError
from tests.unit.saltern_job.fakes import Reaction, states
from tests.unit.saltern_job.test_run import Scene
from tests.unit.saltern_job.test_stages import SYNC, SYNCED

WORKER, MASTER = "saw-k8s-w-04", "saw-k8s-m-03"
FACTS = {
    "registered": True, "ready": True, "reason": "", "role": "worker", "address": "192.168.100.157",
    "unschedulable": False, "moves": [], "alone": [], "stays": 2, "volumes": [],
}  # fmt: skip
GONE = FACTS | {"registered": False, "ready": False, "role": None, "address": None}
# As salt-cloud 3008.3 prints it: sentences, then one object by provider and driver.
SALT_CLOUD = """
import json, pathlib, sys
state = pathlib.Path(sys.argv[1])
machines = json.loads(state.read_text())
words = sys.argv[2:]
with state.with_name("calls").open("a") as log:
    log.write(" ".join(words) + chr(10))
def tell(entries):
    print(json.dumps({"my-proxmox-config": {"proxmox": entries}} if entries else {}))
if words[0] == "-f":
    tell(machines)
elif words[0] == "-d":
    name = words[2]
    print("The following virtual machines are set to be destroyed:")
    machine = machines.pop(name, {})
    if machine.get("broken"):
        sys.exit("Error: There was an error destroying machines: the API is gone. Start it.")
    record = state.parent / "state" / "saw-k8s" / "machines" / (name + ".json")
    tell({name: {"removed": ["machine"]}} if machine or record.exists() else {})
    record.unlink(missing_ok=True)
    state.write_text(json.dumps(machines))
"""


class Removing(Scene):
    """A whole cluster; w-04 carries nothing, etcd is well."""

    def __init__(self, directory: Path, **pillar: object) -> None:
        super().__init__(directory)
        self.pillar = pillar
        self.cloud = directory / "machines.json"
        self.machines = {
            name: {"id": number, "state": "running"} for number, name in enumerate(self.run.table.all, 101)
        }
        self.standing = dict.fromkeys(self.run.table.all, FACTS) | {"saw-k8s-ha-01": GONE}
        self.members = [
            {"name": name, "id": "a", "learner": False, "peer_urls": [], "healthy": True}
            for name in self.run.table.control_plane
        ]
        self.master.react("*", SYNC, Reaction(SYNCED))
        self.master.react("*", "kubeadm.status", Reaction({"healthy": True}))
        self.master.react("*", "state.apply", Reaction(states(HAProxy=True)))
        self.master.react("*", "kube_node.standing", Reaction(self.stood))
        self.master.react("*", "etcd_member.standing", Reaction(lambda kwarg: self.members))

    def stood(self, kwarg):
        return {name: self.standing.get(name, GONE) for name in kwarg["names"]}

    @property
    def salt_cloud(self) -> list[str]:
        if not self.cloud.exists():
            self.cloud.write_text(json.dumps(self.machines))
        return [sys.executable, "-c", SALT_CLOUD, str(self.cloud)]

    def unfinished(self, name: str, **made: object) -> None:
        """Leave what a create of this name has that died before Proxmox had its machine."""
        with Journal(self.state / "saw-k8s" / "machines").claim(name) as record:
            record.note(**made)

    def destroyed(self) -> list[str]:
        calls = self.cloud.with_name("calls")
        lines = calls.read_text().splitlines() if calls.exists() else []
        return [line for line in lines if line.startswith("-d")]

    def plan(self):
        told = removal.begin(self.run, self.pillar)
        assert told.result is True
        return removal.planned(self.run, self.salt_cloud)

    def everything(self):
        self.plan()
        removal.reached(self.run, EMPTIED)
        removal.reached(self.run, DISMISSED)
        removal.machines_gone(self.run, self.salt_cloud, 1e6)
        return removal.forgotten(self.run)

    def order(self) -> list[str]:
        """Functions that change something, in the order of publication."""
        reads = ("test.ping", SYNC, "kubeadm.status", "kube_node.standing", "etcd_member.standing")
        return [sent.function for sent in self.master.sent if sent.function not in reads]


@pytest.fixture
def scene(tmp_path):
    return Removing(tmp_path, node=WORKER, confirm=True)


def problems(work) -> list[tuple[str, str]]:
    with pytest.raises(StageError) as err:
        work()
    return [(problem.node, problem.cause) for problem in err.value.problems]


def test_without_confirmation_nothing_is_changed(tmp_path):
    scene = Removing(tmp_path, node=WORKER)
    told = scene.plan()
    assert told.result is None and "Nothing was changed" in told.comment
    assert f"{WORKER} (worker, 192.168.100.157): machine 108 with its disks" in told.comment
    for stage in (EMPTIED, DISMISSED):
        removal.reached(scene.run, stage)
    assert removal.machines_gone(scene.run, scene.salt_cloud, 60).comment == f"would destroy the machines of {WORKER}"
    assert removal.forgotten(scene.run).comment == f"would do: Node {WORKER}"
    assert scene.order() == [] and scene.destroyed() == [] and scene.master.forgotten == []
    assert record.read_owner(scene.state / "saw-k8s" / "lock") is None
    assert list((scene.state / "saw-k8s" / "runs").iterdir()) == []


def test_a_worker_leaves_in_order_and_its_node_goes_last(scene):
    told = scene.everything()
    assert scene.order() == ["kube_node.cordon", "kube_node.drain", "kube_node.delete"]
    assert scene.destroyed() == [f"-d -y {WORKER} --out=json"]
    assert scene.master.forgotten == [WORKER]
    line = f"{WORKER}: its row is yours, and stays: "
    assert line in told.comment and "cluster.sls:" in told.comment
    assert "the next orchestrate.cluster makes the node again" in told.comment


def test_the_command_to_go_on_is_the_one_that_was_typed(scene):
    scene.plan()
    assert scene.run.again == (
        "salt-run state.orchestrate orchestrate.node_remove "
        f"""pillar='{{"node": "{WORKER}", "confirm": true}}'"""
    ).replace("orchestrate.node_remove", scene.run.orchestration)


def test_a_control_plane_node_leaves_haproxy_and_etcd_before_its_machine_goes(tmp_path):
    scene = Removing(tmp_path, node=MASTER, confirm=True)
    scene.everything()
    assert scene.order() == [
        "kube_node.cordon", "kube_node.drain", "state.apply", "etcd_member.remove", "kube_node.delete"
    ]  # fmt: skip
    (told,) = scene.master.calls("state.apply")
    assert told.targets == ("saw-k8s-ha-01",)
    servers = told.kwarg["pillar"]["saltern"]["haproxy"]["backends"][0]["servers"]
    assert [server["name"] for server in servers] == ["saw-k8s-m-01", "saw-k8s-m-02"]
    (removed,) = scene.master.calls("etcd_member.remove")
    assert removed.kwarg == {"name": MASTER, "address": "192.168.100.153"}
    assert removed.targets == ("saw-k8s-m-01",)


def test_the_source_is_a_node_that_stays_and_is_healthy(tmp_path):
    scene = Removing(tmp_path, node="saw-k8s-m-01", confirm=True)
    scene.master.react("saw-k8s-m-02", "kubeadm.status", Reaction({"healthy": False}))
    scene.plan()
    assert scene.run.removal.planned.source == MASTER


def test_without_a_healthy_control_plane_node_nothing_is_tried(scene):
    scene.master.react("*", "kubeadm.status", Reaction({"healthy": False}))
    ((_, cause),) = problems(scene.plan)
    assert cause.startswith("no control-plane node would stay that is healthy: nothing")
    assert scene.order() == []


def test_expired_certificates_lead_to_their_own_page(scene):
    sick = {"healthy": False, "expired": ["etcd/server"], "etcd_leader": None}
    scene.master.react("*", "kubeadm.status", Reaction(sick))
    with pytest.raises(StageError) as raised:
        scene.plan()
    (problem,) = raised.value.problems
    assert "that is healthy (certificates have expired: on saw-k8s-m-01 etcd/server; " in problem.cause
    assert problem.code == "certificate-expired"


def test_the_whole_control_plane_is_not_removed_node_by_node(tmp_path):
    scene = Removing(tmp_path, nodes=["saw-k8s-m-01", "saw-k8s-m-02", MASTER], confirm=True)
    ((_, cause),) = problems(scene.plan)
    assert cause.startswith("no control-plane node would stay")


def test_a_silent_control_plane_node_is_not_waited_for(scene):
    scene.master.react("saw-k8s-m-01", "*", Reaction(silent=True, alive=False))
    scene.everything()
    assert scene.run.removal.planned.source == "saw-k8s-m-02"


def test_a_name_that_is_nobodys_is_refused(tmp_path):
    scene = Removing(tmp_path, nodes=["saw-k8s-w-99", WORKER], confirm=True)
    scene.machines["saw-k8s-w-99"] = {"id": 199, "state": "running"}
    assert problems(scene.plan) == [
        ("saw-k8s-w-99", "neither the table, nor the cluster, nor etcd has a node of this name: "
         "it is gone, or the name is wrong")
    ]  # fmt: skip
    assert scene.order() == []


def test_a_node_without_a_row_is_known_by_the_cluster(tmp_path):
    scene = Removing(tmp_path, node="saw-k8s-w-99", confirm=True)
    scene.standing["saw-k8s-w-99"] = FACTS
    told = scene.everything()
    assert "no row of the table: saw-k8s-w-99" in told.comment
    assert scene.order()[-1] == "kube_node.delete"


def test_a_member_of_etcd_without_node_and_row_can_go(tmp_path):
    scene = Removing(tmp_path, node="saw-k8s-m-09", confirm=True)
    scene.members.append({"name": "saw-k8s-m-09", "id": "b", "learner": False, "peer_urls": [], "healthy": False})
    scene.everything()
    assert scene.order() == ["etcd_member.remove", "kube_node.delete", "state.apply"]
    assert scene.master.calls("state.apply")[0].kwarg["mods"] == ["os.hosts"]


def test_a_minion_that_answers_without_a_machine_is_not_destroyed(scene):
    del scene.machines[WORKER]
    assert [cause for _, cause in problems(scene.plan)] == [
        "its minion answers, and yet Proxmox has no machine of this name to destroy"
    ]


def test_a_row_that_the_product_wrote_goes_with_the_machine(tmp_path):
    scene = Removing(tmp_path, node="saw-k8s-w-05", confirm=True)
    row = {"role": "worker", "address": "192.168.100.160", "cpus": 2, "memory_gib": 16, "disk_gib": 20}
    rows = Rows(scene.state, "saw-k8s")
    rows.add("saw-k8s-w-05", row)
    scene.run._cluster = None
    scene.standing["saw-k8s-w-05"] = FACTS
    told = scene.plan()
    assert f"its row, which the product wrote: {rows.path('saw-k8s-w-05')}" in told.comment
    removal.machines_gone(scene.run, scene.salt_cloud, 1e6)
    assert rows.rows() == {}


SEED = "local:iso/w-seed-0123456789abcdef.iso"


def test_what_an_unfinished_create_left_goes_without_a_machine(tmp_path):
    scene = Removing(tmp_path, node=WORKER, confirm=True)
    del scene.machines[WORKER]
    scene.standing[WORKER] = GONE
    scene.master.react(WORKER, "*", Reaction(silent=True, alive=False))
    scene.unfinished(WORKER, seed_node="pve", seed_volid=SEED, key=True)
    plan = scene.plan()
    assert f"{WORKER}: what an unfinished create left: seed image {SEED}, minion key" in plan.comment
    told = removal.machines_gone(scene.run, scene.salt_cloud, 1e6)
    assert scene.destroyed() == [f"-d -y {WORKER} --out=json"]
    assert told.comment == f"cleaned up after an unfinished create of {WORKER}"
    assert told.changes == {WORKER: "cleaned up after an unfinished create of"}
    assert removal.machines_gone(scene.run, scene.salt_cloud, 1e6).comment == "no such machine"


def test_a_name_that_only_a_record_knows_can_go(tmp_path):
    scene = Removing(tmp_path, node="saw-k8s-w-05", confirm=True)
    scene.unfinished("saw-k8s-w-05", address="192.168.100.158", node="pve", vmid=109)
    text = scene.plan().comment
    assert "saw-k8s-w-05 (worker): no machine (Proxmox has none), minion key" in text
    line = "what an unfinished create left: machine 109 on pve, reservation of 192.168.100.158"
    assert f"saw-k8s-w-05: {line}" in text
    removal.reached(scene.run, EMPTIED)
    removal.reached(scene.run, DISMISSED)
    removal.machines_gone(scene.run, scene.salt_cloud, 1e6)
    assert scene.destroyed() == ["-d -y saw-k8s-w-05 --out=json"]
    removal.forgotten(scene.run)
    assert scene.order() == ["kube_node.delete"]


def test_a_strangers_machine_under_a_name_that_was_begun_is_nobodys(tmp_path):
    scene = Removing(tmp_path, node="saw-k8s-w-05", confirm=True)
    scene.unfinished("saw-k8s-w-05", node="pve", vmid=109)
    scene.machines["saw-k8s-w-05"] = {"id": 199, "state": "running"}
    ((node, cause),) = problems(scene.plan)
    assert (node, cause.split(",")[0]) == ("saw-k8s-w-05", "neither the table")


def test_what_forbids_it_is_told_before_anything_is_changed(scene):
    scene.standing[WORKER] = FACTS | {"alone": ["default/shell"]}
    assert problems(scene.plan) == [(WORKER, "nothing would make these pods again: default/shell")]
    assert scene.order() == []


def test_a_drain_that_fails_gives_the_cordon_back_and_destroys_nothing(scene):
    held = f"{WORKER}: not drained within 300 s: default/db-0 is held by PodDisruptionBudget db"
    scene.master.react("*", "kube_node.drain", Reaction(held, ok=False))
    scene.plan()
    assert problems(lambda: removal.reached(scene.run, EMPTIED)) == [("saw-k8s-m-01", held)]
    assert scene.order() == ["kube_node.cordon", "kube_node.drain", "kube_node.release"]
    assert scene.master.calls("kube_node.release")[0].kwarg == {"names": [WORKER]}
    assert scene.destroyed() == []


def test_a_machine_that_cannot_be_destroyed_gives_the_cordon_back(scene):
    scene.machines[WORKER]["broken"] = True
    scene.plan()
    removal.reached(scene.run, EMPTIED)
    removal.reached(scene.run, DISMISSED)
    found = problems(lambda: removal.machines_gone(scene.run, scene.salt_cloud, 1e6))
    ((name, cause),) = found
    assert name == WORKER and cause.endswith("There was an error destroying machines: the API is gone. Start it.")
    assert scene.order()[-1] == "kube_node.release"
    assert scene.master.forgotten == [] and "kube_node.delete" not in scene.order()


def test_an_interrupt_gives_the_cordon_back(scene):
    def interrupted():
        removal.reached(scene.run, EMPTIED)
        raise KeyboardInterrupt

    scene.plan()
    with pytest.raises(KeyboardInterrupt):
        scene.run.do("First", interrupted)
    assert scene.order()[-1] == "kube_node.release"


def test_a_removal_that_was_cut_off_is_ended_by_the_next(scene):
    """The machine is gone, its Node is not: as after a crash in between."""
    del scene.machines[WORKER]
    scene.master.react(WORKER, "test.ping", Reaction(silent=True))
    told = scene.everything()
    assert scene.destroyed() == []
    assert scene.order() == ["kube_node.cordon", "kube_node.delete"]
    assert scene.master.forgotten == [WORKER]
    assert told.result is True


def test_stages_in_the_wrong_order_are_a_message(scene):
    with pytest.raises(StageError, match="no node was named"):
        removal.planned(scene.run, scene.salt_cloud)
    removal.begin(scene.run, scene.pillar)
    with pytest.raises(StageError, match="no stage has planned it yet"):
        removal.forgotten(scene.run)
    scene.run.close(record.SUCCEEDED)


def test_a_proxmox_that_cannot_be_asked_stops_it_before_any_change(scene):
    with pytest.raises(StageError, match="exit code 3: the API is away"):
        removal.begin(scene.run, scene.pillar)
        away = [sys.executable, "-c", "import sys; sys.stderr.write('the API is away'); sys.exit(3)"]
        removal.planned(scene.run, away)
    assert scene.order() == []
    with pytest.raises(StageError, match="no-such-program"):
        unmake.existing(scene.run, ["/no-such-program"])


def test_a_salt_cloud_that_says_nothing_of_a_machine_has_failed(scene):
    removal.begin(scene.run, scene.pillar)
    script = SALT_CLOUD.replace('elif words[0] == "-d":', 'elif words[0] == "-d":\n    sys.exit("killed")')
    assert scene.salt_cloud
    mute = [sys.executable, "-c", script, str(scene.cloud)]
    ((name, cause),) = problems(lambda: unmake.destroy(scene.run, mute, [WORKER], 1e6))
    assert name == WORKER and cause.endswith("ended with exit code 1: killed")
    assert scene.master.forgotten == []


def test_only_the_load_balancers_that_pass_requests_on_to_it_are_told(scene):
    picture = removal.balancers(scene.run.cluster, [removal._leaving(scene.run, WORKER, FACTS, None)])
    assert picture == {}


def test_a_master_that_is_away_is_told(scene):
    scene.master.refuses = "no Salt master listens"
    with pytest.raises((StageError, TransportError), match="no Salt master"):
        scene.plan()


def test_the_deadline_of_the_plan_leaves_room_for_kubectl(scene):
    scene.plan()
    removal.reached(scene.run, EMPTIED)
    drain = scene.run.job.steps[f"drained {WORKER}"]
    assert drain.deadline_s - drain.call.kwarg["deadline_s"] >= plan.QUICK_S
