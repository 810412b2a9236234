"""Who may be added to a cluster, and by which steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from saltern import plan_add
from saltern.job import Job
from saltern.plan import PlanError, Table
from saltern.plan_add import Picture, Request
from tests.unit.saltern_job.fakes import Clock, FakeMaster, Reaction, states

MEMBER = {"joined": True, "healthy": True}
TABLE = Table(("ha1", "ha2"), ("m1", "m2", "m3", "m4", "m5"), ("w1", "w2", "w3", "w4"))
CONTROL_PLANE = dict.fromkeys(("m1", "m2", "m3"), MEMBER)


def picture(*names: str, **rest: Any) -> Picture:
    keys = {name: f"PEM of {name}" for name in TABLE.all}
    addresses = {name: f"192.0.2.{number}" for number, name in enumerate(TABLE.all)}
    return Picture(TABLE, names, "m1", CONTROL_PLANE, keys, MEMBERS, addresses, **rest)


def member(name: str, healthy: bool = True, learner: bool = False, address: str = "192.0.2.99") -> dict[str, Any]:
    return {"name": name, "learner": learner, "peer_urls": [f"https://{address}:2380"], "healthy": healthy}


MEMBERS = [member("m1"), member("m2"), member("m3")]


def by_key(pic: Picture) -> dict[str, Any]:
    return {step.key: step for step in plan_add.steps(pic)}


def causes(pic: Picture) -> list[str]:
    return [problem.cause for problem in plan_add.refusals(pic)]


# Requests.


@pytest.mark.parametrize(
    ("pillar", "names"),
    [({"node": "w3"}, ("w3",)), ({"nodes": ["w3", "w4", "w3"]}, ("w3", "w4")), ({"automatic": True}, ())],
)
def test_a_request_names_nodes(pillar, names):
    assert Request.of(pillar).names == names


@pytest.mark.parametrize(
    ("pillar", "said"),
    [
        ({}, "which node is to be added"),
        ({"nodes": "w3"}, "which node is to be added"),
        ({"nodes": [3]}, "which node is to be added"),
        ({"automatic": "yes"}, "which node is to be added"),
        ({"node": "w3", "wait_s": "long"}, "wait_s is 'long'"),
        ({"node": "w3", "wait_s": -1}, "wait_s is -1"),
        ({"node": "w3", "wait_s": True}, "wait_s is True"),
    ],
)
def test_a_request_that_cannot_be_read_says_what_to_type(pillar, said):
    with pytest.raises(PlanError, match=said) as raised:
        Request.of(pillar)
    assert raised.value.codes == ("addition-refused",)


def test_a_request_is_made_again_by_what_it_names():
    assert plan_add.example(Request.of({"node": "w3", "wait_s": 5}).pillar) == """pillar='{"node": "w3"}'"""
    assert plan_add.example(Request.of({"nodes": ["w3", "w4"]}).pillar) == """pillar='{"nodes": ["w3", "w4"]}'"""


# Refusals.


def test_names_without_a_row_and_load_balancers_cannot_be_added():
    told = {problem.node: problem for problem in plan_add.name_problems(TABLE, ["w9", "ha1", "w3", "m4"])}
    assert list(told) == ["w9", "ha1"]
    assert "salt-cloud -p worker w9" in told["w9"].remedy
    assert "load balancer" in told["ha1"].cause


def test_a_healthy_cluster_takes_control_plane_nodes_in():
    assert causes(picture("m4", "m5")) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"members": [*MEMBERS[:2], member("m3", healthy=False)]}, "of 3 members m3 does not answer; with one more 3"),
        ({"members": [*MEMBERS, member("m5", learner=True)]}, "m5 is no voting member of etcd yet"),
        ({"members": [*MEMBERS, member("")]}, "https://192.0.2.99:2380 is no voting member of etcd yet"),
        ({"status": CONTROL_PLANE | {"m2": {"unfinished": "join"}}}, "the join of m2 has begun and not ended"),
    ],
)
def test_a_control_plane_node_is_refused_while_etcd_is_not_well(changes, said):
    (cause,) = causes(replace(picture("m4"), **changes))
    assert said in cause
    assert causes(replace(picture("w3"), **changes)) == []  # a worker is no member of etcd
    assert causes(replace(picture("m4"), status=CONTROL_PLANE | {"m4": MEMBER})) == []  # it is one already


def test_what_an_earlier_try_of_the_same_node_left_is_no_reason():
    pic = picture("m4", "w3")
    own = member("", learner=True, address=pic.addresses["m4"])
    status = CONTROL_PLANE | {"m4": {"unfinished": "join"}}
    assert causes(replace(pic, members=[*MEMBERS, own], status=status)) == []


def test_an_address_that_begins_alike_is_another_nodes():
    pic = picture("m4")
    other = member("", address=pic.addresses["m4"] + "0")
    assert len(causes(replace(pic, members=[*MEMBERS, other]))) == 1


# Steps.


def test_a_worker_asks_itself_and_one_control_plane_node():
    steps = by_key(picture("w3"))
    assert {key: step.targets for key, step in steps.items()} == {
        "workers prepared": ("w3",),
        "material": ("m1",),
        "workers joined": ("w3",),
        "material revoked": ("m1",),
        "network taken up": ("w3",),
        "nodes ready": ("m1",),
        "nodes marked": ("m1",),
    }
    assert steps["nodes ready"].call.kwarg["names"] == ["w3"]
    assert steps["material"].call.kwarg == {"public_keys": {"w3": "PEM of w3"}, "control_plane": []}


def test_the_order_of_a_worker():
    after = {key: set(step.after) for key, step in by_key(picture("w3")).items()}
    assert after == {
        "workers prepared": set(),
        "material": set(),
        "workers joined": {"material", "workers prepared"},
        "material revoked": {"material", "workers joined"},
        "network taken up": {"material", "workers joined"},
        "nodes ready": {"material", "workers joined"},
        "nodes marked": {"material", "workers joined"},
    }


@pytest.mark.parametrize("workers", [4, 32])
def test_the_cost_of_a_worker_does_not_grow_with_the_cluster(workers):
    """As many calls, to as many nodes, whether there are 4 workers or 32."""
    table = replace(TABLE, workers=tuple(f"w{number}" for number in range(workers)))
    steps = plan_add.steps(replace(picture("w3"), table=table))
    assert (len(steps), sum(len(step.targets) for step in steps)) == (7, 7)


def test_workers_join_together_and_cost_no_more_steps():
    steps = by_key(picture("w3", "w4"))
    assert len(steps) == 7
    assert steps["workers joined"].targets == ("w3", "w4")
    assert not steps["workers joined"].one_at_a_time


def test_load_balancers_that_pass_requests_on_to_workers_are_told():
    told = by_key(picture("w3", ingress=True))["balancers told"]
    assert (told.targets, told.call.kwarg["mods"], told.one_at_a_time) == (("ha1", "ha2"), ["haproxy"], True)
    assert "workers joined" in told.after


def test_a_control_plane_node_is_told_to_those_that_must_know():
    steps = by_key(picture("m4", "m5"))
    assert steps["control plane joined"].targets == ("m4", "m5")
    assert steps["control plane joined"].one_at_a_time
    assert steps["material"].call.kwarg["control_plane"] == ["m4", "m5"]
    assert steps["balancers told"].targets == ("ha1", "ha2")
    assert steps["balancers told"].call.kwarg["mods"] == ["haproxy", "os.hosts"]
    assert "control plane joined" in steps["balancers told"].after
    assert steps["names told"].targets == ("m1", "m2", "m3")
    asked = {node for step in steps.values() for node in step.targets}
    assert asked & set(TABLE.workers) == set()


def test_members_are_only_looked_at():
    status = CONTROL_PLANE | {"w3": MEMBER}
    steps = by_key(replace(picture("w3", "w4"), status=status))
    assert steps["workers prepared"].targets == ("w4",)
    assert steps["workers joined"].targets == ("w4",)
    assert steps["network taken up"].targets == ("w3", "w4")
    only = by_key(replace(picture("w3"), status=status))
    assert set(only) == {"network taken up", "nodes ready", "nodes marked"}


def test_the_steps_run_to_their_end():
    clock = Clock()
    master = FakeMaster(clock)
    master.react("*", "state.apply", Reaction(states(done=True)))
    master.react("*", "kubeadm.join_material", Reaction({"w3": "sealed", "m4": "sealed"}))
    job = Job(plan_add.steps(picture("w3", "m4")), master, clock, lambda line: None)
    assert job.run() == []
    (joined, *_) = [sent for sent in master.sent if sent.kwarg.get("mods") == ["kubeadm.joined"]]
    assert joined.kwarg["pillar"] == {"saltern_join": {"w3": "sealed", "m4": "sealed"}}


def test_material_is_revoked_when_a_join_fails():
    clock = Clock()
    master = FakeMaster(clock)
    master.react("*", "state.apply", Reaction(states(done=True)))
    master.react("w3", "state.apply", Reaction(states(done=False), ok=False))
    master.react("*", "kubeadm.join_material", Reaction({"w3": "sealed"}))
    job = Job(plan_add.steps(picture("w3")), master, clock, lambda line: None)
    assert job.run() != []
    assert len(master.calls("kubeadm.revoke_join_material")) == 1
