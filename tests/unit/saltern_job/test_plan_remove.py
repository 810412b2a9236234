"""Who may leave a cluster, and by which steps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from saltern import plan_remove, removal_report
from saltern.job import Job
from saltern.plan import PlanError, Table
from saltern.plan_remove import NONE, OWN, WRITTEN, Leaving, Picture, Request
from tests.unit.saltern_job.fakes import Clock, FakeMaster, Reaction, states

TABLE = Table(("ha",), ("m1", "m2", "m3"), ("w1", "w2"))
FACTS = {"registered": True, "ready": True, "reason": "", "unschedulable": False}
CARRIES = {"moves": [], "alone": [], "stays": 3, "volumes": []}
DEAD = {"ready": False, "reason": "Kubelet stopped posting node status."}
WEB = {"namespace": "default", "name": "web-1", "owner": "Deployment web", "empty_dir": False, "held": None}


def node(name: str, role: str = "worker", **facts: object) -> Leaving:
    machine = {"id": 107, "state": "running"}
    return Leaving(
        name, role, "192.0.2.1", row_at="pillar/cluster.sls:7", facts=FACTS | CARRIES | facts, machine=machine
    )


def member(name: str, healthy: bool = True, learner: bool = False) -> dict[str, object]:
    return {"name": name, "id": "a", "learner": learner, "peer_urls": [f"https://{name}:2380"], "healthy": healthy}


MEMBERS = [member("m1"), member("m2"), member("m3")]


def picture(*leaving: Leaving, members: list[dict[str, object]] = MEMBERS, **rest: object) -> Picture:
    return Picture(TABLE, leaving, "m1", members, **rest)


def refused(pic: Picture, force: bool = False) -> list[tuple[str, str]]:
    return [(problem.node, problem.cause) for problem in plan_remove.refusals(pic, force)]


# -- the request


def test_a_request_is_read_from_the_pillar():
    assert Request.of({"node": "w1"}) == Request(("w1",))
    assert Request.of({"nodes": ["w1", "w2", "w1"], "confirm": True, "force": True, "drain_timeout_s": 9}) == Request(
        ("w1", "w2"), confirmed=True, force=True, drain_s=9
    )


@pytest.mark.parametrize(
    ("pillar", "message"),
    [
        ({}, r"""which node is to be removed is not said: add pillar='\{"node": "NAME"\}'"""),
        ({"nodes": "w1"}, "not said"),
        ({"nodes": [1]}, "not said"),
        ({"node": "w1", "confirm": "false"}, "confirm is 'false', which is neither true nor false"),
        ({"node": "w1", "force": 1}, "force is 1, which is neither"),
        ({"node": "w1", "drain_timeout_s": 0}, "drain_timeout_s is 0: write a number of seconds"),
        ({"node": "w1", "drain_timeout_s": True}, "drain_timeout_s is True"),
    ],
)
def test_a_request_that_says_nothing_clear_is_refused(pillar, message):
    with pytest.raises(PlanError, match=message):
        Request.of(pillar)


def test_a_request_is_typed_again_as_it_was():
    request = Request.of({"nodes": ["w1", "w2"], "force": True, "drain_timeout_s": 9})
    assert request.pillar(confirm=True) == {
        "nodes": ["w1", "w2"], "force": True, "drain_timeout_s": 9, "confirm": True
    }  # fmt: skip
    assert plan_remove.example(Request(("w1",)).pillar(confirm=True)) == """pillar='{"node": "w1", "confirm": true}'"""


# -- refusals


def test_a_worker_may_leave():
    assert refused(picture(node("w2"))) == []


@pytest.mark.parametrize(
    ("names", "role", "cause"),
    [
        (("w1", "w2"), "worker", "no worker would be left"),
        (("ha",), "load_balancer", "no load balancer would be left"),
        (("m1", "m2", "m3"), "control_plane", "no control-plane node would be left"),
    ],
)
def test_the_last_of_a_role_stays(names, role, cause):
    found = refused(picture(*(node(name, role) for name in names)))
    assert found[0] == (", ".join(names), cause)


def test_a_member_may_leave_while_the_rest_has_a_quorum():
    assert refused(picture(node("m3", "control_plane"))) == []


def test_a_healthy_member_stays_when_the_rest_would_have_no_quorum():
    members = [member("m1"), member("m2", healthy=False), member("m3")]
    (found,) = plan_remove.refusals(picture(node("m3", "control_plane"), members=members), force=False)
    assert found.node == "m3"
    assert "etcd would have 2 members left, of which 1 answer and 2 have to" in found.cause
    assert found.remedy.endswith(": m2")


def test_a_dead_member_may_leave_where_a_healthy_one_may_not():
    members = [member("m1"), member("m2", healthy=False), member("m3")]
    assert refused(picture(node("m2", "control_plane", **DEAD), members=members), force=True) == []


def test_of_two_the_dead_one_goes_first():
    """The other way round one member would be left to vote for two."""
    members = [member("m1"), member("m2", healthy=False), member("m3")]
    pic = picture(node("m3", "control_plane"), node("m2", "control_plane", **DEAD), members=members)
    assert [leaving.name for leaving in pic.control_plane] == ["m2", "m3"]
    assert refused(pic, force=True) == []


def test_nobody_leaves_etcd_while_another_joins():
    learning = [*MEMBERS, member("", learner=True)]
    (found,) = refused(picture(node("m3", "control_plane"), members=learning))
    assert "https://:2380 is a learner of etcd: another node is joining" in found[1]
    assert refused(picture(node("w2"), members=learning)) == []


def test_a_node_that_does_not_answer_needs_force():
    (found,) = plan_remove.refusals(picture(node("w2", **DEAD)), force=False)
    assert "is not Ready (Kubelet stopped posting node status.)" in found.cause
    assert '{"node": "w2", "force": true}' in found.remedy
    assert refused(picture(node("w2", **DEAD)), force=True) == []


def test_a_machine_that_is_off_is_dead_although_its_node_counts_as_ready():
    off = replace(node("w2"), machine={"id": 107, "state": "stopped"})
    (found,) = plan_remove.refusals(picture(off), force=False)
    assert found.cause == "its machine is off: its pods cannot be moved, only given up"
    assert [key for key, _ in departed(picture(off))] == ["cordoned", "cordons given back"]


def test_a_node_whose_machine_is_gone_needs_no_force_and_no_drain():
    lost = replace(node("w2"), machine=None)
    assert refused(picture(lost)) == []
    assert [key for key, _ in departed(picture(lost))] == ["cordoned", "cordons given back"]


def test_a_node_that_runs_elsewhere_than_on_proxmox_is_not_ours_to_destroy():
    elsewhere = replace(node("w2"), machine=None, answers=True)
    (found,) = plan_remove.refusals(picture(elsewhere), force=True)
    assert found.cause == "its minion answers, and yet Proxmox has no machine of this name to destroy"


def test_pods_without_a_controller_are_their_owners_to_delete():
    (found,) = plan_remove.refusals(picture(node("w2", alone=["default/shell"])), force=True)
    assert found.cause == "nothing would make these pods again: default/shell"
    assert found.remedy == "delete them yourself: kubectl -n default delete pod shell"
    assert refused(picture(node("w2", alone=["default/shell"], **DEAD)), force=True) == []


def test_everything_that_forbids_it_is_told_at_once():
    found = refused(picture(node("w1", **DEAD), node("w2", alone=["a/b"])))
    assert [name for name, _ in found] == ["w1, w2", "w1", "w2"]


# -- steps


def departed(pic: Picture) -> list[tuple[str, tuple[str, ...]]]:
    return [(step.key, step.after) for step in plan_remove.departure(pic)]


def test_a_worker_is_cordoned_and_drained():
    steps = plan_remove.departure(picture(node("w2")), drain_s=77)
    assert [step.key for step in steps] == ["cordoned", "drained w2", "cordons given back"]
    drain = steps[1]
    assert drain.targets == ("m1",) and drain.call.kwarg == {"name": "w2", "deadline_s": 77}
    assert drain.deadline_s > 77
    assert steps[2].undo and steps[2].after == ("cordoned",)


def test_all_are_cordoned_before_the_first_is_drained():
    assert departed(picture(node("w1"), node("w2")))[:3] == [
        ("cordoned", ()), ("drained w1", ("cordoned",)), ("drained w2", ("drained w1",))
    ]  # fmt: skip


def test_load_balancers_are_told_before_etcd_loses_its_member():
    pic = picture(node("m3", "control_plane"), balancers={"ha": {"backends": []}})
    assert departed(pic)[2:4] == [("told ha", ("drained m3",)), ("dismissed m3", ("told ha",))]
    told = plan_remove.departure(pic)[2]
    assert told.targets == ("ha",) and told.call.kwarg["pillar"] == {"saltern": {"haproxy": {"backends": []}}}


def test_a_dead_node_is_not_drained_and_all_else_is_done():
    pic = picture(node("m3", "control_plane", **DEAD), balancers={"ha": {}})
    assert [key for key, _ in departed(pic)] == ["cordoned", "told ha", "dismissed m3", "cordons given back"]


def test_a_load_balancer_concerns_no_cluster():
    leaving = Leaving("ha", "load_balancer", facts=FACTS | CARRIES | {"registered": False, "ready": False})
    assert departed(picture(leaving)) == []
    assert refused(Picture(Table(("ha", "hb"), ("m1",), ("w1",)), (leaving,), "m1")) == []


@pytest.mark.parametrize(
    ("role", "row", "readers"),
    [
        ("worker", WRITTEN, None),  # no hosts file names a worker
        ("control_plane", OWN, None),  # the table names it still
        ("control_plane", WRITTEN, ("ha", "m1", "m3")),
        ("load_balancer", NONE, ("ha", "m1", "m3", "w1", "w2")),
    ],
)
def test_the_node_goes_last_then_the_names_that_the_table_has_no_more(role, row, readers):
    table = Table(("ha",), ("m1", "m2", "m3"), ("w1", "w2"))
    steps = plan_remove.forgetting(Picture(table, (Leaving("m2", role, row=row, facts=FACTS),), "m1"))
    assert steps[0].key == "forgotten"
    assert [step.targets for step in steps[1:]] == ([readers] if readers else [])


def test_every_plan_is_a_job_that_can_run():
    clock = Clock()
    master = FakeMaster(clock)
    master.react("*", "state.apply", Reaction(states(A_thing=True)))
    for pic in (picture(node("w2")), picture(node("m3", "control_plane"), balancers={"ha": {}})):
        for steps in (plan_remove.departure(pic), plan_remove.forgetting(pic)):
            assert Job(steps, master, clock, lambda line: None).run() == []


# -- the text


def test_the_plan_of_a_worker_says_what_goes_moves_and_is_lost():
    held = WEB | {
        "name": "db-0",
        "owner": "StatefulSet db",
        "held": "PodDisruptionBudget db (1 pods healthy, 1 have to be)",
    }
    scratch = WEB | {"name": "web-2", "empty_dir": True}
    pic = picture(node("w2", moves=[WEB, scratch, held], volumes=["pv1 of default/data"]))
    text = removal_report.plan("saw", pic, Request(("w2",)))
    assert text.splitlines() == [
        "Removal of w2 from saw:",
        "what goes:",
        "  w2 (worker, 192.0.2.1): machine 107 with its disks, minion key, Node (Ready)",
        "what moves:",
        "  w2: default: Deployment web, 2 pods",
        "  w2: default: StatefulSet db, 1 pod, waits for PodDisruptionBudget db (1 pods healthy, 1 have to be)",
        "what is lost:",
        "  w2: persistent volume pv1 of default/data",
        "  w2: emptyDir volumes of default/web-2",
        "what to know:",
        "  w2: its row is yours, and stays: pillar/cluster.sls:7",
        "  delete such a row, or the next orchestrate.cluster makes the node again",
        "Nothing was changed. To do it: salt-run state.orchestrate orchestrate.node_remove "
        """pillar='{"node": "w2", "confirm": true}'""",
    ]


def test_the_plan_of_a_control_plane_node_counts_what_may_still_fail():
    pic = picture(node("m3", "control_plane", unschedulable=True), balancers={"ha": {}})
    text = removal_report.plan("saw", pic, Request(("m3",), confirmed=True))
    assert "minion key, Node (Ready, cordoned already), etcd member\n" in text
    assert "  ha: servers m3 of HAProxy's backends\n" in text
    assert "  etcd keeps 2 members, of which 0 may fail: no more than with 1; a table has 1, 3 or 5\n" in text
    assert "Nothing was changed" not in text


def test_the_plan_of_a_dead_node_says_that_its_pods_end():
    text = removal_report.plan(
        "saw", picture(node("w2", moves=[WEB], alone=["a/b"], **DEAD)), Request(("w2",), force=True)
    )
    assert "what moves" not in text
    assert "  w2: does not run: its 2 pods end without notice; controllers make theirs anew elsewhere\n" in text


def test_rows_that_go_or_are_missing_are_told():
    written = Leaving("w5", "worker", row=WRITTEN, row_at="nodes.d/w5.yml", facts=FACTS | CARRIES)
    stranger = Leaving("w9", "worker", row=NONE, facts=FACTS | CARRIES)
    text = removal_report.plan("saw", picture(written, stranger), Request(("w5", "w9")))
    assert "  its row, which the product wrote: nodes.d/w5.yml\n" in text
    assert "  no row of the table: w9\n" in text
    assert "no machine (Proxmox has none)" in text
