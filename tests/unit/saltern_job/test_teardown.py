"""A whole cluster taken down: the confirmation, the order, what is left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from saltern import plan_teardown, record, teardown
from saltern.plan import PlanError, Table
from saltern.plan_teardown import CLEANED, EMPTIED, LEFT, Picture, Request
from saltern.rows import Rows
from saltern.run import StageError
from tests.unit.saltern_job.fakes import Reaction
from tests.unit.saltern_job.test_removal import FACTS, Removing

TABLE = Table(("ha",), ("m1", "m2", "m3"), ("w1", "w2"))
WEB = {"namespace": "default", "name": "web-1", "owner": "Deployment web", "empty_dir": False, "held": None}


class TakingDown(Removing):
    """A whole cluster and a request to take it down."""

    def plan(self):
        told = teardown.begin(self.run, self.pillar)
        assert told.result is True
        return teardown.planned(self.run, self.salt_cloud)

    def everything(self):
        self.plan()
        for stage in (EMPTIED, LEFT, CLEANED):
            teardown.reached(self.run, stage)
        return teardown.machines_gone(self.run, self.salt_cloud, 1e6)

    def applied(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(",".join(sent.kwarg["mods"]), sent.targets) for sent in self.master.calls("state.apply")]


# -- the request


def test_only_the_clusters_own_name_confirms():
    assert Request.of({}, "saw") == Request()
    assert Request.of({"confirm": "saw", "keep_machines": True}, "saw") == Request(True, True)
    for word in ("other", True, "SAW", ""):
        with pytest.raises(PlanError, match=r"""to be its name: pillar='\{"confirm": "saw"\}'"""):
            Request.of({"confirm": word}, "saw")
    with pytest.raises(PlanError, match="keep_machines is 'yes'"):
        Request.of({"keep_machines": "yes"}, "saw")


# -- the steps


def test_load_balancers_that_share_an_address_give_it_up_first():
    steps = plan_teardown.steps(Picture(replace(TABLE, sharing=True), "m2"))
    (step,) = [step for step in steps if step.key == "balancers cleaned"]
    assert step.call.kwarg["mods"] == [
        "recorded.clean", "keepalived.clean", "haproxy.distrusted", "haproxy.clean", "os.clean",
    ]  # fmt: skip


def test_services_go_before_members_members_before_files():
    steps = plan_teardown.steps(Picture(TABLE, "m2"))
    assert [step.key for step in steps] == [
        "test service gone", "metallb gone",
        "workers unregistered", "workers reset",
        "m1 dismissed", "m1 reset", "m3 dismissed", "m3 reset", "m2 unregistered", "m2 reset",
        "workers cleaned", "control plane cleaned", "balancers cleaned",
    ]  # fmt: skip
    assert [step.after for step in steps[1:]] == [(step.key,) for step in steps[:-1]]
    assert [step.stage for step in steps] == [EMPTIED] * 2 + [LEFT] * 8 + [CLEANED] * 3


def test_a_member_leaves_etcd_before_its_node_is_reset_or_the_rest_would_lose_its_quorum():
    steps = {step.key: step for step in plan_teardown.steps(Picture(TABLE, "m2", {"m1": "192.0.2.1"}))}
    assert steps["m1 dismissed"].targets == ("m2",)
    assert steps["m1 dismissed"].call.kwarg == {"name": "m1", "address": "192.0.2.1"}
    assert steps["m1 reset"].targets == ("m1",)


def test_each_node_finds_its_own_name_among_the_explicit_words():
    steps = {step.key: step for step in plan_teardown.steps(Picture(TABLE, "m2"))}
    assert steps["workers reset"].call.kwarg["pillar"] == {"saltern_confirm_reset": ["w1", "w2"]}
    assert steps["m3 reset"].call.kwarg["pillar"] == {"saltern_confirm_reset": ["m3"]}


def test_without_an_api_nothing_is_asked_of_it():
    steps = {step.key: step.targets for step in plan_teardown.steps(Picture(TABLE))}
    assert list(steps)[:2] == ["workers reset", "control plane reset"]
    assert steps["control plane reset"] == steps["control plane cleaned"] == ("m1", "m2", "m3")


def test_a_test_service_that_was_never_there_is_not_undone():
    assert plan_teardown.steps(Picture(TABLE, "m1", verified=False))[0].key == "metallb gone"


# -- the stages


def test_without_the_name_nothing_is_changed(tmp_path: Path):
    scene = TakingDown(tmp_path)
    scene.standing["saw-k8s-w-01"] = FACTS | {"moves": [WEB, WEB], "alone": ["default/a"], "volumes": ["pv1 of a/b"]}
    told = scene.plan()
    assert told.result is None
    for line in (
        "Teardown of saw-k8s: 8 nodes.",
        "  machine 101 (saw-k8s-ha-01) with its disks",
        "  every object of the cluster: etcd is wiped with its nodes",
        "  persistent volume pv1 of a/b",
        "  pods: default 3",
        "  the table: orchestrate.cluster makes the cluster anew from it",
        """pillar='{"confirm": "saw-k8s"}'""",
    ):
        assert line in told.comment
    teardown.reached(scene.run, EMPTIED)
    teardown.machines_gone(scene.run, scene.salt_cloud, 60)
    assert scene.order() == [] and scene.destroyed() == [] and scene.master.forgotten == []
    assert list((scene.state / "saw-k8s" / "runs").iterdir()) == []


def test_machines_are_destroyed_by_role_and_no_node_is_bothered(tmp_path: Path):
    scene = TakingDown(tmp_path, confirm="saw-k8s")
    told = scene.everything()
    assert scene.order() == []
    names = [line.removeprefix("-d -y ").removesuffix(" --out=json") for line in scene.destroyed()]
    table = scene.run.table
    assert names == [*table.workers, *table.control_plane, *table.load_balancers]
    assert set(scene.master.forgotten) == set(scene.run.table.all)
    assert told.changes == dict.fromkeys(scene.machines, "destroyed")


def test_what_unfinished_creates_left_goes_too(tmp_path: Path):
    """Of a row's machine, and of a new worker that had no row yet."""
    scene = TakingDown(tmp_path, confirm="saw-k8s")
    del scene.machines["saw-k8s-w-04"]
    scene.unfinished("saw-k8s-w-04", key=True)
    scene.unfinished("saw-k8s-w-05", address="192.168.100.158")
    text = scene.plan().comment
    assert "  saw-k8s-w-04: what an unfinished create left: minion key\n" in text
    assert "  saw-k8s-w-05: what an unfinished create left: reservation of 192.168.100.158\n" in text
    told = teardown.machines_gone(scene.run, scene.salt_cloud, 1e6)
    assert [line.split()[2] for line in scene.destroyed()][:2] == ["saw-k8s-w-05", "saw-k8s-w-01"]
    assert told.comment.endswith("; cleaned up after an unfinished create of saw-k8s-w-05, saw-k8s-w-04")
    assert not list((scene.state / "saw-k8s" / "machines").glob("*.json"))


def test_a_cluster_that_is_dead_is_destroyed_all_the_same(tmp_path: Path):
    scene = TakingDown(tmp_path, confirm="saw-k8s")
    scene.master.react("*", "*", Reaction(silent=True, alive=False))
    del scene.machines["saw-k8s-w-02"]
    told = scene.plan()
    assert "no control-plane node is healthy, so it is not known what runs on the cluster" in told.comment
    assert "no machine on Proxmox: saw-k8s-w-02" in told.comment
    assert len(teardown.machines_gone(scene.run, scene.salt_cloud, 1e6).changes) == 7


def test_rows_that_the_product_wrote_go_and_others_are_not_touched(tmp_path: Path):
    scene = TakingDown(tmp_path, confirm="saw-k8s")
    rows = Rows(scene.state, "saw-k8s")
    row = {"role": "worker", "address": "192.168.100.160", "cpus": 2, "memory_gib": 16, "disk_gib": 20}
    rows.add("saw-k8s-w-05", row)
    scene.run._cluster = None
    scene.master.accepted.add("saw-k8s-w-05")
    scene.machines |= {"saw-k8s-w-05": {"id": 120}, "somebodys": {"id": 200}}
    scene.everything()
    assert rows.rows() == {}
    assert not any("somebodys" in line for line in scene.destroyed())


def test_machines_that_are_kept_are_cleaned(tmp_path: Path):
    scene = TakingDown(tmp_path, confirm="saw-k8s", keep_machines=True)
    told = scene.plan()
    assert "the cluster, off the machines saw-k8s-ha-01" in told.comment
    for stage in (EMPTIED, LEFT, CLEANED):
        teardown.reached(scene.run, stage)
    assert teardown.machines_gone(scene.run, scene.salt_cloud, 60).comment == "the machines are kept"
    workers, source = scene.run.table.workers, "saw-k8s-m-01"
    node_clean = "recorded.clean,kubelet.clean,crio.clean,binaries.clean,os.clean"
    assert [sent.kwarg["names"] for sent in scene.master.calls("kube_node.unregister")] == [list(workers), [source]]
    assert [sent.kwarg["name"] for sent in scene.master.calls("etcd_member.remove")] == ["saw-k8s-m-02", "saw-k8s-m-03"]
    assert scene.applied() == [
        ("verification.clean", (source,)),
        ("metallb.clean", (source,)),
        ("kubeadm.clean", workers),
        *(("kubeadm.clean", (name,)) for name in ("saw-k8s-m-02", "saw-k8s-m-03", source)),
        (node_clean, workers),
        (f"kubeconfig.clean,{node_clean}", ("saw-k8s-m-02", "saw-k8s-m-03", source)),
        ("recorded.clean,haproxy.distrusted,haproxy.clean,os.clean", ("saw-k8s-ha-01",)),
    ]
    assert scene.destroyed() == [] and scene.master.forgotten == []


def test_a_machine_that_cannot_be_cleaned_stops_it_before_any_change(tmp_path: Path):
    scene = TakingDown(tmp_path, confirm="saw-k8s", keep_machines=True)
    scene.master.react("saw-k8s-w-02", "*", Reaction(silent=True, alive=False))
    with pytest.raises(StageError, match="saw-k8s-w-02: Teardown: its minion does not answer"):
        scene.plan()
    assert scene.order() == []


def test_the_command_to_go_on_names_the_cluster(tmp_path: Path):
    scene = TakingDown(tmp_path, confirm="saw-k8s")
    scene.plan()
    assert scene.run.again.endswith("""pillar='{"confirm": "saw-k8s"}'""")
    scene.run.close(record.SUCCEEDED)


def test_stages_in_the_wrong_order_are_a_message(tmp_path: Path):
    scene = TakingDown(tmp_path, confirm="saw-k8s")
    with pytest.raises(StageError, match="nothing was asked for"):
        teardown.planned(scene.run, scene.salt_cloud)
    teardown.begin(scene.run, scene.pillar)
    with pytest.raises(StageError, match="no stage has planned it yet"):
        teardown.reached(scene.run, EMPTIED)
    scene.run.close(record.SUCCEEDED)
