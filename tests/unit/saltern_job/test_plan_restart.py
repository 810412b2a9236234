"""Which nodes restart together, what is read from the pillar, what a record says of an earlier run."""

from __future__ import annotations

import pytest

from saltern.plan import PlanError, Table
from saltern.plan_restart import Picture, Progress, Request, batches, departure, unwell_first

TABLE = Table(("ha",), ("m1", "m2", "m3"), ("w1", "w2", "w3", "w4", "w5"))


@pytest.mark.parametrize(
    ("pillar", "request_"),
    [
        ({"node": "w1"}, Request(("w1",))),
        ({"nodes": ["w2", "w1", "w2"], "share": 2}, Request(("w2", "w1"), share=2)),
        ({"roles": ["worker"], "share": "025%"}, Request(roles=("worker",), share="25%")),
        (
            {"all": True, "upgrade": True, "confirm": True, "anew": True, "drain_timeout_s": 9},
            Request(everything=True, upgrade=True, confirmed=True, anew=True, drain_s=9),
        ),
    ],
)
def test_a_request_is_read_from_the_pillar(pillar, request_):
    assert Request.of(pillar) == request_


@pytest.mark.parametrize(
    ("pillar", "message"),
    [
        ({}, r"""has to be said in one way: pillar='\{"node": "NAME"\}', or pillar='\{"roles": \["worker"\]\}'"""),
        ({"node": "w1", "all": True}, "in one way"),
        ({"roles": "worker"}, "in one way"),
        ({"nodes": [1]}, "in one way"),
        ({"roles": ["worker", "master"]}, "master: no role of the table; these are: load_balancer, control_plane"),
        ({"all": "true"}, "all is 'true', which is neither true nor false"),
        ({"all": True, "upgrade": 1}, "upgrade is 1, which is neither"),
        ({"all": True, "drain_timeout_s": 0}, "drain_timeout_s is 0"),
        *(
            ({"all": True, "share": share}, "share is .*: write how many workers may be away at once")
            for share in (0, -1, True, "2", "0%", "101%", "5.5%", "%", 0.5, None)
        ),
    ],
)
def test_a_request_that_says_nothing_clear_is_refused(pillar, message):
    with pytest.raises(PlanError, match=message):
        Request.of(pillar)


def test_a_request_is_typed_again_as_it_was():
    pillar = {"roles": ["worker"], "upgrade": True, "share": "25%", "drain_timeout_s": 9, "anew": True}
    assert Request.of(pillar).pillar(confirm=True) == pillar | {"confirm": True}
    # What goes on does not begin anew.
    again = Request.of(pillar | {"confirm": True}).pillar(confirm=True)
    assert again == {key: value for key, value in pillar.items() if key != "anew"} | {"confirm": True}
    assert Request.of({"all": True}).pillar() == {"all": True}


def test_who_that_is_is_told_in_table_order():
    assert Request(("w2", "m1", "ha")).of_table(TABLE) == ("ha", "m1", "w2")
    assert Request(roles=("worker", "control_plane")).of_table(TABLE) == TABLE.kubernetes
    assert Request(everything=True).of_table(TABLE) == TABLE.all


def test_names_without_a_row_and_roles_without_a_node_are_refused():
    with pytest.raises(PlanError, match="w8, w9: the table has no such row"):
        Request(("w8", "m1", "w9")).of_table(TABLE)
    with pytest.raises(PlanError, match="the table has no node of the role worker"):
        Request(roles=("worker",)).of_table(Table(("ha",), ("m1",)))


@pytest.mark.parametrize(
    ("share", "workers", "expected"),
    [(1, 5, 1), (3, 5, 3), ("50%", 5, 2), ("10%", 5, 1), ("100%", 5, 5), ("34%", 3, 1)],
)
def test_a_percentage_is_rounded_down_but_never_to_nobody(share, workers, expected):
    assert Request(everything=True, share=share).at_once(workers) == expected


def test_only_workers_go_together():
    assert batches(TABLE, TABLE.all, 2) == [
        ("ha",), ("m1",), ("m2",), ("m3",), ("w1", "w2"), ("w3", "w4"), ("w5",)
    ]  # fmt: skip


def test_within_a_role_those_go_first_that_are_out_already():
    well = {"joined": True, "healthy": True}
    members = [{"name": name, "learner": False, "healthy": name != "m3"} for name in TABLE.control_plane]
    standing = {name: {"ready": True, "reason": "", "unschedulable": name == "w4"} for name in TABLE.kubernetes}
    pic = Picture(TABLE, TABLE.all, "m1", standing, dict.fromkeys(TABLE.control_plane, well), members)
    assert unwell_first(pic) == ("ha", "m3", "m1", "m2", "w4", "w1", "w2", "w3", "w5")


def test_a_load_balancer_has_no_pods_to_move():
    assert departure(Picture(TABLE, ("ha",)), False, 60, 60) == []
    (upgrade,) = departure(Picture(TABLE, ("ha",)), True, 60, 60)
    assert (upgrade.call.function, upgrade.targets, upgrade.after) == ("os_package.upgrade", ("ha",), ())


def test_haproxy_is_told_of_an_api_server_last_and_of_no_other_node():
    def after(table: Table, name: str) -> dict[str, tuple[str, ...]]:
        return {step.key: step.after for step in departure(Picture(table, (name,), "m2"), True, 60, 60)}

    assert after(TABLE, "m1")["directed elsewhere"] == ("turn taken",)
    assert after(TABLE, "m1")["directed back"] == ("directed elsewhere",)
    assert "directed elsewhere" not in after(TABLE, "w1").keys() | after(TABLE, "ha").keys()
    assert "directed elsewhere" not in after(Table((), TABLE.control_plane, TABLE.workers), "m1")


PROGRESS = Progress({"w1": "a", "w2": "b"})


@pytest.mark.parametrize(
    ("progress", "boot", "expected"),
    [
        (PROGRESS, "a", False),
        (PROGRESS, "c", True),
        (PROGRESS, None, False),
        (PROGRESS.ordering({}, {"w1": {}}), None, True),
        (PROGRESS.ordering({}, {"w1": {}}), "a", False),
        (PROGRESS.ordering({"w1": "c"}, {"w1": {}}), "c", False),
        (Progress(PROGRESS.boots, upgrade=True), "c", False),
        (Progress(PROGRESS.boots, upgrade=True).ordering({}, {"w1": {}}), "c", True),
    ],
)
def test_who_is_under_way(progress, boot, expected):
    assert progress.under_way("w1", boot) is expected


def test_progress_is_kept_by_the_record_and_read_from_it():
    progress = PROGRESS.ordering({"w1": "c"}, {"w1": {"containers": ["x"]}}).with_done(["w1"])
    begun = {"result": "interrupted", "started": "2026-01-31T12:00:00Z", "restart": progress.data}
    runs = [{"result": "failed"}, begun]
    found = Progress.resumed(runs, ("w2", "w1"), upgrade=False, anew=False)
    assert found.data == progress.data | {"since": "2026-01-31T12:00:00Z"}
    assert found.left(("w1", "w2")) == ("w2",)
    assert Progress.resumed(runs, ("w1", "w2"), upgrade=True, anew=False) is None
    assert Progress.resumed(runs, ("w1",), upgrade=False, anew=False) is None
    assert Progress.resumed(runs, ("w1", "w2"), upgrade=False, anew=True) is None
    assert Progress.resumed([begun | {"result": "succeeded"}, *runs], ("w1", "w2"), False, False) is None
