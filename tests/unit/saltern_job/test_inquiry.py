"""Asking all nodes at once, in bounded time, on a fake master."""

from __future__ import annotations

import pytest

from saltern import inquiry
from tests.unit.saltern_job.fakes import Reaction
from tests.unit.saltern_job.test_run import Scene

FUNCTION = inquiry.FUNCTION
CONTROL_PLANE = ("saw-k8s-m-01", "saw-k8s-m-02", "saw-k8s-m-03")


class Nodes(Scene):
    """Nodes that answer; the second control-plane node leads etcd."""

    def __init__(self, directory):
        super().__init__(directory)
        self.reacts("*", cluster=False)
        self.reacts("saw-k8s-m-02", cluster=True)

    def reacts(self, node, cluster, **rest):
        """Have a node answer: with the cluster by itself, else only when it is told to look."""

        def value(kwarg):
            seen = {"cluster": {"seen by": node}, "members": []} if cluster or kwarg.get("cluster") else {}
            return {"errors": {}} | seen

        self.master.react(node, FUNCTION, Reaction(value, after_s=rest.pop("after_s", 0.5), **rest))

    def ask(self, wait_s=3.0):
        return inquiry.ask(self.run, wait_s)


@pytest.fixture
def nodes(tmp_path):
    return Nodes(tmp_path)


def test_one_question_to_all_is_enough(nodes):
    nodes.reacts("saw-k8s-ha-01", cluster=False, after_s=0.8)
    told = nodes.ask()
    assert tuple(told.facts) == nodes.run.table.all
    assert told.cluster == {"seen by": "saw-k8s-m-02"} and told.members == []
    assert (told.silent, told.keyless, told.refused) == ((), (), {})
    assert [sent.targets for sent in nodes.master.sent] == [nodes.run.table.all]
    assert nodes.clock.now < 1


def test_a_dead_worker_is_waited_for_until_the_time_is_up_and_no_longer(nodes):
    nodes.master.react("saw-k8s-w-03", "*", Reaction(silent=True))
    told = nodes.ask(wait_s=2.5)
    assert told.silent == ("saw-k8s-w-03",) and len(told.facts) == 7
    assert nodes.clock.now == pytest.approx(2.5)
    assert len(nodes.master.sent) == 1


def test_a_dead_leader_is_replaced_by_another_control_plane_node(nodes):
    nodes.master.react("saw-k8s-m-02", "*", Reaction(silent=True))
    told = nodes.ask()
    assert told.silent == ("saw-k8s-m-02",) and told.cluster is not None
    again = nodes.master.sent[1]
    assert (again.targets, again.kwarg) == (("saw-k8s-m-01",), {"cluster": True})
    assert 1.5 <= again.at < 2
    assert len(nodes.master.sent) == 2


def test_a_leader_that_cannot_look_is_replaced_at_once(nodes):
    broken = {"errors": {"cluster": "kubectl get: refused"}, "members": []}
    nodes.master.react("saw-k8s-m-02", FUNCTION, Reaction(broken, after_s=0.5))
    told = nodes.ask()
    assert told.cluster is not None and nodes.master.sent[1].targets == ("saw-k8s-m-01",)
    assert nodes.clock.now < 1.5
    assert told.facts["saw-k8s-m-02"]["errors"]


def test_without_a_leader_each_control_plane_node_is_tried_and_then_given_up(nodes):
    def value(kwarg):
        return {"errors": {"cluster": "no", "members": "no"} if kwarg.get("cluster") else {}}

    nodes.master.react("*", FUNCTION, Reaction(value, after_s=0.1))
    told = nodes.ask()
    assert told.cluster is None and told.members is None
    assert [sent.targets for sent in nodes.master.sent[1:]] == [(node,) for node in CONTROL_PLANE]
    assert nodes.clock.now < 1


def test_all_dead(nodes):
    nodes.master.react("*", "*", Reaction(silent=True))
    told = nodes.ask()
    assert told.silent == nodes.run.table.all and told.cluster is None
    assert nodes.clock.now == pytest.approx(3.0)


def test_nodes_without_a_key_are_not_waited_for(nodes):
    nodes.master.accepted -= {"saw-k8s-w-01"}
    told = nodes.ask()
    assert told.keyless == ("saw-k8s-w-01",) and told.silent == ()
    assert nodes.clock.now < 1


def test_no_keys_at_all(nodes):
    nodes.master.accepted = set()
    assert nodes.ask().keyless == nodes.run.table.all


def test_a_node_without_the_module_is_told_apart_from_a_silent_one(nodes):
    missing = "'node_status.facts' is not available."
    nodes.master.react("saw-k8s-w-01", FUNCTION, Reaction(missing, ok=False))
    told = nodes.ask()
    assert told.refused == {"saw-k8s-w-01": missing} and told.silent == ()


def test_an_answer_that_comes_too_late_does_not_count(nodes):
    nodes.reacts("saw-k8s-w-02", cluster=False, after_s=10)
    assert nodes.ask().silent == ("saw-k8s-w-02",)
