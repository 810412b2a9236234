"""A running cluster that nobody can see: its load balancers are silent, or its control plane is starting."""

from __future__ import annotations

import pytest

from saltern import plan, reachable, stages
from tests.unit.saltern_job.fakes import Reaction
from tests.unit.saltern_job.test_stages import MEMBER, STAGES, Cluster, failure

SICK = MEMBER | {"healthy": False, "endpoint_silent": False}


@pytest.fixture
def unseen(tmp_path):
    """A whole cluster whose endpoint does not answer."""
    return Cluster(tmp_path, status=MEMBER | {"healthy": False, "endpoint_silent": True})


def test_silent_load_balancers_come_before_the_plan(unseen, monkeypatch):
    def mended(endpoint, within_s):
        assert [sls for sls, _ in unseen.applied()] == [("os", "haproxy"), ("haproxy.trusted",)]
        unseen.master.react("*", "kubeadm.status", Reaction(MEMBER))
        return ""

    monkeypatch.setattr("saltern.endpoint.unready", mended)
    unseen.ready()
    told, *_ = [stages.reached(unseen.run, stage) for stage in STAGES]
    assert told.comment.startswith("Preparation of load balancers: 1 of 1; Cluster CA: 1 of 1; HAProxy checks with")
    assert "Preparation of control-plane members: 3 of 3" in told.comment
    assert told.changes["saw-k8s-ha-01"] == ["A thing"] * 3
    assert unseen.applied()[-1][0] == ("verification",)


def test_load_balancers_that_stay_silent_end_the_run(unseen, monkeypatch):
    monkeypatch.setattr("saltern.endpoint.unready", lambda endpoint, within_s: "Connection refused")
    unseen.ready()
    ((_, cause),) = failure(lambda: stages.reached(unseen.run, plan.PREPARED))
    assert cause.startswith("nobody answers at https://192.168.100.150:6443 (Connection refused), though the load")
    assert {nodes for _, nodes in unseen.applied()} == {("saw-k8s-ha-01",)}


def test_in_test_mode_silent_load_balancers_hide_the_rest(unseen):
    unseen.ready()
    unseen.run.test = True
    told = [stages.reached(unseen.run, stage) for stage in STAGES]
    assert told[0].comment.startswith("would do: Preparation of load balancers: saw-k8s-ha-01 (API servers run, and")
    assert told[1].comment.startswith("would do: Cluster CA: saw-k8s-m-01")
    assert {each.comment for each in told[2:]} == {"not known before the load balancers answer"}
    assert unseen.applied() == []


# -- a control plane that is starting


@pytest.fixture
def starting(tmp_path):
    """A whole cluster none of whose control-plane nodes is healthy yet."""
    return Cluster(tmp_path, status=SICK)


def becomes(cluster, after_s, status):
    """kubeadm.status answers this from a time of the job's clock on."""
    cluster.master.react("*", "kubeadm.status", Reaction(lambda _: status if cluster.clock.now >= after_s else SICK))


def test_a_control_plane_that_is_starting_is_waited_for(starting):
    starting.ready()
    becomes(starting, starting.clock.now + 40, MEMBER)
    told = stages.reached(starting.run, plan.PREPARED)
    assert "Preparation of control-plane members: 3 of 3" in told.comment
    assert any("waits for a control-plane node of the cluster to be healthy" in line for line in starting.lines)


def test_a_control_plane_that_does_not_come_is_refused(starting):
    starting.ready()
    begin = starting.clock.now
    with pytest.raises(plan.PlanError, match="no control-plane node of the table is healthy"):
        stages.reached(starting.run, plan.PREPARED)
    assert reachable.START_S <= starting.clock.now - begin < reachable.START_S + 60
    assert starting.applied() == []


def test_expired_certificates_are_not_waited_for(tmp_path):
    cluster = Cluster(tmp_path, status=SICK | {"expired": ["apiserver"]})
    cluster.ready()
    with pytest.raises(plan.PlanError, match="certificates have expired"):
        stages.reached(cluster.run, plan.PREPARED)
    assert len(cluster.master.calls("kubeadm.status")) == 0


def test_in_test_mode_nothing_is_waited_for(starting):
    starting.ready()
    starting.run.test = True
    with pytest.raises(plan.PlanError):
        stages.reached(starting.run, plan.PREPARED)
    assert len(starting.master.calls("kubeadm.status")) == 0
