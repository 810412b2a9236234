"""What a bring-up plans, from a bare table, a half-built and a whole cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from saltern import plan
from saltern.plan import ORDER, Picture, PlanError, Table
from saltern.steps import Outcome, Step, StepError
from tests.salt_node import CHECKOUT
from tests.unit.saltern.definitions import PAIR, shipped

TABLE = Table(("ha",), ("m1", "m2", "m3"), ("w1", "w2"))
MEMBER = {"joined": True, "healthy": True}
KEYS = {node: f"PEM of {node}" for node in TABLE.all}
SERVICE = ("saltern-verification", "web")


def picture(**members: dict[str, object]) -> Picture:
    return Picture(TABLE, members, KEYS, SERVICE)


def planned(pic: Picture) -> dict[str, Step]:
    return {step.key: step for step in plan.bring_up(pic)}


def outcome(steps: dict[str, Step], key: str, value: object) -> dict[str, Outcome]:
    from saltern.steps import Answer

    done = Outcome(steps[key], 0.0, 1.0)
    done.answers[steps[key].targets[0]] = Answer(steps[key].targets[0], value, 1.0)
    return {key: done}


BARE = picture()
WHOLE = picture(**dict.fromkeys(TABLE.kubernetes, MEMBER))
HALF = picture(m1=MEMBER, m2=MEMBER, w1=MEMBER)


def test_the_table_of_the_definition(tmp_path):
    table = Table.of(shipped(tmp_path))
    assert table.load_balancers == ("saw-k8s-ha-01",)
    assert table.control_plane == ("saw-k8s-m-01", "saw-k8s-m-02", "saw-k8s-m-03")
    assert len(table.workers) == 4 and len(table.all) == 8
    assert table.of_role("worker") == table.workers
    assert not table.sharing and Table.of(shipped(tmp_path / "pair", PAIR)).sharing
    with pytest.raises(ValueError, match="there is no role 'boss'"):
        table.of_role("boss")


def test_every_step_has_a_place_in_the_order():
    keys = set(planned(BARE)) | set(planned(WHOLE)) | set(planned(HALF))
    assert keys == set(ORDER)


def test_a_bare_table_begins_on_the_first_control_plane_node():
    steps = planned(BARE)
    assert steps["initialised"].targets == ("m1",)
    assert steps["control plane joined"].targets == ("m2", "m3") and steps["control plane joined"].one_at_a_time
    assert steps["workers joined"].targets == ("w1", "w2") and not steps["workers joined"].one_at_a_time
    assert "members prepared" not in steps


SILENT = {"joined": True, "healthy": False, "endpoint_silent": True}


def test_a_cluster_behind_silent_load_balancers_gets_these_first_and_nothing_else():
    steps = planned(picture(m1={"joined": True, "healthy": False}, m2=SILENT, m3=SILENT, w1={"joined": True}))
    assert {key: step.targets for key, step in steps.items()} == {
        "balancers prepared": ("ha",),
        "authority read": ("m2",),
        "authority trusted": ("ha",),
    }
    assert "nobody answers at the endpoint" in steps["balancers prepared"].reason


def test_load_balancers_do_not_come_first_when_one_answers():
    assert "cilium" in planned(picture(m1=SILENT, m2=MEMBER, m3=MEMBER, w1=MEMBER))


def test_init_waits_for_the_load_balancer_and_its_own_node_only():
    assert set(planned(BARE)["initialised"].after) == {"first prepared", "balancers prepared"}


def test_metallb_waits_for_workers_not_for_cilium_everywhere():
    assert planned(BARE)["metallb"].after == ("workers joined",)


def test_material_is_revoked_after_all_joins_whatever_happens():
    revoked = planned(BARE)["material revoked"]
    assert revoked.always
    assert set(revoked.after) == {"material", "control plane joined", "workers joined"}


def test_every_new_node_is_seen_to_take_up_the_network():
    assert planned(BARE)["network taken up"].targets == TABLE.kubernetes
    assert planned(HALF)["network taken up"].targets == ("m3", "w2")
    assert "network taken up" not in planned(WHOLE)


def test_operators_kubeconfigs_are_kept_on_members():
    assert "kubeconfig" in planned(WHOLE)["members prepared"].call.kwarg["mods"]


def test_a_member_is_prepared_as_its_highstate_says():
    top = yaml.safe_load((CHECKOUT / "salt" / "top.sls").read_text())["base"]
    for role, key in (("control_plane", "members prepared"), ("worker", "worker members prepared")):
        highstate = [entry for entry in top[f"saltern:node:role:{role}"] if isinstance(entry, str)]
        # What the API holds has steps of its own here, on the one node that is asked for everything.
        highstate = [room for room in highstate if room != "cluster"]
        assert planned(WHOLE)[key].call.kwarg["mods"] == highstate


def test_a_whole_cluster_is_neither_begun_nor_joined_again():
    steps = planned(WHOLE)
    assert not {"initialised", "material", "control plane joined", "workers joined", "material revoked"} & set(steps)
    assert steps["members prepared"].one_at_a_time and steps["members prepared"].targets == TABLE.control_plane
    assert steps["cilium"].targets == ("m1",)


def test_a_half_built_cluster_joins_what_is_missing():
    steps = planned(HALF)
    assert "initialised" not in steps
    assert steps["control plane joined"].targets == ("m3",)
    assert steps["workers joined"].targets == ("w2",)
    assert steps["workers prepared"].targets == ("w2",) and steps["worker members prepared"].targets == ("w1",)


def test_no_node_is_special():
    steps = planned(picture(m1={}, m2={"joined": True, "healthy": False}, m3=MEMBER))
    assert steps["cilium"].targets == ("m3",)
    assert steps["material"].targets == ("m3",)
    assert steps["control plane joined"].targets == ("m1",)


def test_an_init_that_was_begun_elsewhere_goes_on_there():
    assert planned(picture(m2={"unfinished": "init"}))["initialised"].targets == ("m2",)


def test_members_without_a_healthy_control_plane_are_not_doubled():
    with pytest.raises(PlanError, match="m1: belong to a cluster, but no control-plane node"):
        plan.bring_up(picture(m1={"joined": True, "healthy": False}))
    with pytest.raises(PlanError, match="w1: belong to a cluster"):
        plan.bring_up(picture(w1=MEMBER))


@pytest.mark.parametrize(
    ("facts", "said", "code"),
    [
        ({}, "is healthy: a new cluster", "control-plane-unhealthy"),
        ({"etcd_leader": False}, r"is healthy \(etcd has no quorum: .* on m1\): a new", "etcd-quorum-lost"),
        ({"expired": ["ca"]}, r"is healthy \(certificates have expired: on m1 ca\): a new", "certificate-expired"),
    ],
)
def test_members_without_a_healthy_control_plane_lead_to_the_page_of_the_cause(facts, said, code):
    with pytest.raises(PlanError, match=said) as raised:
        plan.bring_up(picture(m1={"joined": True, "healthy": False, **facts}, w1=MEMBER))
    assert raised.value.codes == (code,)


def test_a_table_without_control_plane_is_refused():
    with pytest.raises(PlanError, match="no control-plane node: add a row"):
        plan.bring_up(Picture(Table(("ha",))))


def test_material_an_interrupted_run_left_is_revoked():
    left = Picture(TABLE, dict.fromkeys(TABLE.kubernetes, MEMBER), KEYS, SERVICE, left_over=True)
    assert planned(left)["material revoked"].after == ()
    assert "material revoked" in planned(left)
    bare = Picture(Table(("ha",), ("m1",)), {}, KEYS, left_over=True)
    assert "material revoked" not in planned(bare)


def test_material_is_asked_for_the_joining_nodes_keys():
    call = planned(HALF)["material"].call
    assert call.kwarg == {"public_keys": {"m3": "PEM of m3", "w2": "PEM of w2"}, "control_plane": ["m3"]}


def test_joins_get_the_sealed_material():
    steps = planned(BARE)
    call = steps["workers joined"].call(outcome(steps, "material", {"w1": "ciphertext"}))
    assert call.kwarg["pillar"] == {"saltern_join": {"w1": "ciphertext"}}
    assert call.kwarg["mods"] == ["kubeadm.joined"] and call.kwarg["queue"] is not True
    with pytest.raises(StepError, match="no join material"):
        steps["workers joined"].call(outcome(steps, "material", None))


def test_load_balancers_get_the_authority():
    steps = planned(BARE)
    call = steps["authority trusted"].call(outcome(steps, "authority read", "PEM"))
    assert call.kwarg["pillar"] == {"saltern_ca": "PEM"}
    with pytest.raises(StepError, match="no CA"):
        steps["authority trusted"].call(outcome(steps, "authority read", ""))


def test_load_balancers_that_share_an_address_get_keepalived():
    alone = planned(BARE)["balancers prepared"]
    assert alone.call.kwarg["mods"] == ["os", "haproxy"]
    table = replace(TABLE, load_balancers=("ha1", "ha2"), sharing=True)
    step = planned(Picture(table, {}, KEYS, SERVICE))["balancers prepared"]
    assert (step.targets, step.call.kwarg["mods"]) == (("ha1", "ha2"), ["os", "haproxy", "keepalived"])


def test_load_balancers_that_serve_change_one_after_the_other():
    table = replace(TABLE, load_balancers=("ha1", "ha2"), sharing=True)
    bare = planned(Picture(table, {}, KEYS, SERVICE))
    assert not bare["balancers prepared"].one_at_a_time  # nobody is served yet
    assert bare["authority trusted"].one_at_a_time
    whole = planned(Picture(table, WHOLE.status, KEYS, SERVICE))
    assert whole["balancers prepared"].one_at_a_time and whole["authority trusted"].one_at_a_time


def test_what_waits_for_the_cluster_runs_beside_other_state_runs():
    steps = planned(BARE)
    concurrent = {key for key in steps if getattr(steps[key].call, "kwarg", {}).get("concurrent")}
    assert concurrent == {
        "cilium", "metallb", "network taken up", "nodes marked", "service deployed", "verification"
    }  # fmt: skip


def test_without_verification_there_is_no_test_service():
    steps = planned(Picture(TABLE, {}, KEYS, service=None))
    assert not {"service deployed", "verification", "address"} & set(steps)


def test_test_mode_asks_only_nodes_that_have_something_to_say():
    def asked(pic):
        return {key for key, step in planned(pic).items() if step.in_test_mode == "ask"}

    assert asked(BARE) == set()
    whole = planned(WHOLE)
    assert {key for key in whole if whole[key].in_test_mode == "say"} == set()
    half = planned(HALF)
    assert half["workers prepared"].in_test_mode == "say" and half["worker members prepared"].in_test_mode == "ask"
    assert half["nodes ready"].in_test_mode == "say"


def test_a_step_left_out_hands_on_what_it_waited_for():
    assert set(planned(WHOLE)["cilium"].after) == {"balancers prepared", "members prepared"}
