"""Who may be replaced, in which order, how far an earlier run came, and what an operator reads of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from saltern import plan_replace, replacement_report
from saltern.plan import PlanError, Table
from saltern.plan_remove import Leaving, Picture
from saltern.plan_replace import Progress, Request
from tests.unit.saltern.definitions import shipped
from tests.unit.saltern_job.test_plan_remove import CARRIES, DEAD, FACTS, MEMBERS, TABLE, member, node

WELL = {"joined": True, "healthy": True}
STATUS = dict.fromkeys(("m1", "m2", "m3"), WELL)
ILL = {"joined": True, "healthy": False, "unhealthy": ["the kubelet does not answer"]}


def picture(*leaving: Leaving, table: Table = TABLE, **rest: Any) -> Picture:
    return Picture(table, leaving, "m2", **({"members": MEMBERS, "status": STATUS} | rest))


def master(name: str, **facts: object) -> Leaving:
    return node(name, "control_plane", **facts)


def refused(pic: Picture, force: bool = False, order: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    found = plan_replace.refusals(pic, force, order or pic.names)
    assert {problem.code for problem in found} <= {"replacement-refused"}
    return [(problem.node, problem.cause) for problem in found]


# -- the request


def test_a_request_is_that_of_a_removal_and_may_begin_anew():
    request = Request.of({"nodes": ["m1", "m2"], "anew": True, "force": True})
    assert (request.names, request.anew, request.force) == (("m1", "m2"), True, True)
    assert request.pillar(confirm=True) == {"nodes": ["m1", "m2"], "anew": True, "force": True, "confirm": True}


def test_the_command_that_goes_on_does_not_begin_anew():
    assert Request.of({"node": "m1", "anew": True, "confirm": True}).pillar(confirm=True) == {
        "node": "m1", "confirm": True
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pillar", "message"),
    [({}, "which node is to be replaced is not said"), ({"node": "m1", "anew": "yes"}, "anew is 'yes'")],
)
def test_a_request_that_says_nothing_clear_is_refused(pillar, message):
    with pytest.raises(PlanError, match=message) as raised:
        Request.of(pillar)
    assert raised.value.codes == ("replacement-refused",)


def test_only_rows_of_the_table_can_be_replaced():
    plan_replace.require_rows(TABLE, ["m1", "ha", "w2"])
    with pytest.raises(PlanError, match="w8, w9: the table has no such row"):
        plan_replace.require_rows(TABLE, ["w8", "m1", "w9"])


# -- refusals


@pytest.mark.parametrize("name", ["m1", "m2", "m3"])
def test_each_node_of_a_whole_control_plane_may_be_replaced_the_first_included(name):
    assert refused(picture(master(name))) == []


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ({"status": STATUS | {"m2": ILL}}, "m2 is not healthy (the kubelet does not answer)"),
        ({"status": {"m1": WELL, "m3": WELL}}, "m2 does not answer"),
        ({"status": STATUS | {"m2": {"joined": False}}}, "m2 is not healthy (not a member of the cluster)"),
        ({"members": MEMBERS[:1] + MEMBERS[2:]}, "m2 is no voting member of etcd"),
        (
            {"members": [member("m1"), member("m2", healthy=False), member("m3")]},
            "m2 does not answer as a member of etcd",
        ),
    ],
)
def test_no_second_control_plane_node_is_out(rest, told):
    (found,) = refused(picture(master("m1"), **rest), force=True)
    assert found == ("m1", f"the rest of the control plane is not whole ({told}): two would be out")


def test_the_one_that_is_not_whole_may_be_replaced():
    assert refused(picture(master("m2"), status=STATUS | {"m2": ILL})) == []


def test_one_that_is_replaced_before_is_counted_on():
    pic = picture(master("m1"), master("m2"), status=STATUS | {"m2": ILL})
    assert refused(pic, order=("m2", "m1")) == []
    assert [name for name, _ in refused(pic, order=("m1", "m2"))] == ["m1"]


def test_nobody_goes_while_another_one_joins():
    found = refused(picture(master("m3"), members=[*MEMBERS, member("m4", learner=True)]))
    assert found[0][1].startswith("m4 is a learner of etcd")
    assert refused(picture(node("w1"), members=[*MEMBERS, member("m4", learner=True)])) == []


@pytest.mark.parametrize(
    ("leaving", "cause"),
    [
        (Leaving("ha", "load_balancer"), "it is the only load balancer: until the new one runs nobody reaches the API"),
        (node("w1"), "it is the only worker: its pods have no other place until the new one is Ready"),
    ],
)
def test_the_only_one_of_a_role_is_replaced_by_force(leaving, cause):
    pic = picture(leaving, table=Table(("ha",), ("m1", "m2", "m3"), ("w1",)))
    ((name, told),) = refused(pic)
    assert name == leaving.name and told.startswith(cause)
    assert refused(pic, force=True) == []


def test_the_only_control_plane_node_is_never_replaced():
    pic = picture(master("m1"), table=Table(("ha",), ("m1",), ("w1", "w2")), members=[member("m1")])
    assert refused(pic, force=True) == [("m1", "it is the only control-plane node: the cluster would go with it")]


def test_a_dead_node_and_pods_without_a_controller_are_as_in_a_removal():
    assert "is not Ready" in refused(picture(node("w1", **DEAD)))[0][1]
    assert refused(picture(node("w1", **DEAD)), force=True) == []
    assert "nothing would make these pods again" in refused(picture(node("w1", alone=["a/b"])))[0][1]


# -- order


def test_what_is_out_already_goes_first():
    off = replace(node("w2"), machine={"id": 1, "state": "stopped"})
    gone = replace(master("m3"), machine=None)
    leaving = (node("w1"), master("m1"), off, master("m2"), gone)
    members = [member("m1"), member("m2", healthy=False), member("m3")]
    assert plan_replace.in_order(picture(*leaving, members=members)) == ("w2", "m2", "m3", "w1", "m1")


# -- how far an earlier run came

KEYS = {"m1": "PEM one", "m2": "PEM two"}
REQUEST = Request(("m1", "m2"), confirmed=True)


def recorded(**rest: Any) -> dict[str, Any]:
    progress = Progress.begun(("m1", "m2"), KEYS).with_done("m1")
    return {"result": "interrupted", "started": "2026-01-31T12:00:00Z", "replacement": progress.data} | rest


def test_a_key_that_differs_is_a_new_machine():
    progress = Progress.begun(("m1", "m2", "m3"), KEYS)
    keys = {"m1": "PEM one\n", "m2": "PEM of another", "m3": "PEM three"}
    assert [name for name in progress.machines if progress.renewed(name, keys)] == ["m2", "m3"]
    assert not progress.renewed("m1", {})


def test_a_run_that_was_cut_off_is_gone_on_with():
    progress = Progress.resumed([recorded()], REQUEST)
    assert progress is not None
    assert (progress.done, progress.since) == (("m1",), "2026-01-31T12:00:00Z")
    assert progress.machines == Progress.begun(("m1", "m2"), KEYS).machines
    later = recorded(started="2026-01-31T13:00:00Z", replacement=progress.data)
    assert Progress.resumed([later], REQUEST) == progress, "its beginning is the first run's"


REFUSED = {"result": "failed", "started": "2026-02-01T12:00:00Z"}  # it had not begun to change anything
OTHERS = recorded(result="succeeded", replacement=Progress.begun(("m3",), KEYS).data)


@pytest.mark.parametrize(
    ("runs", "request_"),
    [
        ([], REQUEST),
        ([REFUSED], REQUEST),
        ([recorded(result="succeeded"), recorded()], REQUEST),
        ([recorded()], Request(("m1",))),
        ([recorded()], replace(REQUEST, anew=True)),
    ],
)
def test_all_else_begins_at_the_beginning(runs, request_):
    assert Progress.resumed(runs, request_) is None


def test_runs_in_between_that_were_refused_or_were_for_others_do_not_hide_it():
    assert Progress.resumed([REFUSED, OTHERS, recorded()], REQUEST) is not None


def test_the_order_in_which_names_are_typed_does_not_matter_for_going_on():
    assert Progress.resumed([recorded()], Request(("m2", "m1"))) is not None


# -- a load balancer


def test_a_load_balancer_is_prepared_trusts_the_authority_and_serves():
    steps = plan_replace.balancer_steps("ha", "m2")
    assert [(step.key, step.targets, step.after) for step in steps] == [
        ("balancers prepared", ("ha",), ()),
        ("authority read", ("m2",), ()),
        ("authority trusted", ("ha",), ("balancers prepared", "authority read")),
        ("servers up", ("ha",), ("authority trusted",)),
    ]


# -- the text


def test_the_plan_says_what_goes_what_comes_and_what_was_done(tmp_path):
    cluster = shipped(tmp_path)
    first, second = (row.name for row in cluster.control_plane[:2])
    table = Table.of(cluster)
    leaving = Leaving(second, "control_plane", facts=FACTS | CARRIES | {"unschedulable": True}, machine={"id": 102})
    members = [member(name) for name in table.control_plane]
    progress = Progress({first: "a", second: "b"}, (first,), "2026-01-31T12:00:00Z")
    request = Request((first, second))
    text = replacement_report.plan(cluster, Picture(table, (leaving,), first, members), request, progress, (second,))
    assert text.splitlines() == [
        f"Replacement in saw-k8s, one after the other: {second}",
        "what goes:",
        f"  {second} (control plane): machine 102 with its disks, minion key, Node (Ready, cordoned already), "
        "etcd member",
        "what comes:",
        f"  {second} (control plane, 192.168.100.152): a new machine of its row, 2 CPUs, 8 GiB memory, 20 GiB disk",
        "what to know:",
        '  goes on with what was begun at 2026-01-31T12:00:00Z; to begin anew: add "anew": true',
        f"  replaced since then, and left alone: {first}",
        "  etcd has 2 of 3 members while one is away, of which 0 may fail",
        f"  {second}: is cordoned; the new one takes pods",
        "Nothing was changed. To do it: salt-run state.orchestrate orchestrate.node_replace "
        f"""pillar='{{"nodes": ["{first}", "{second}"], "confirm": true}}'""",
    ]


def test_the_plan_says_what_the_only_load_balancer_costs(tmp_path):
    cluster = shipped(tmp_path)
    name = cluster.load_balancers[0].name
    pic = Picture(Table.of(cluster), (Leaving(name, "load_balancer"),), "m1")
    text = replacement_report.plan(cluster, pic, Request((name,), confirmed=True), Progress({name: None}), (name,))
    assert f"  {name}: it is the only load balancer: until the new one runs nobody reaches the API, " in text
    assert "Nothing was changed" not in text and "etcd has" not in text
