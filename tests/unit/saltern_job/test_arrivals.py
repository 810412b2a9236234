"""Machines that wait to be added, and whose turn it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from saltern import endpoint, record
from saltern.arrivals import Arrivals, Turn, stays_out
from tests.unit.saltern.definitions import shipped


@pytest.fixture
def directory(tmp_path):
    return record.cluster_dir(tmp_path, "saw-k8s")


def test_names_wait_until_they_are_taken(directory):
    arrivals = Arrivals(directory)
    assert arrivals.take() == []
    for name in ("w6", "w5", "w6"):
        arrivals.announce(name)
    assert arrivals.names() == ["w5", "w6"]
    assert Arrivals(directory).take() == ["w5", "w6"]
    assert arrivals.take() == []


def test_one_has_the_turn(directory):
    first, second = Turn(), Turn()
    assert first.take(directory)
    assert not second.take(directory)
    first.close()
    first.close()
    assert second.take(directory)


def test_a_turn_that_was_handed_over_is_the_childs_alone(directory):
    """It lasts while the child lives, though the parent has let go; and ends with the child."""
    turn = Turn()
    assert turn.take(directory)
    script = "import sys; print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[turn.fd]
    ) as child:
        assert child.stdout.readline() == b"up\n"
        turn.close()
        assert not Turn().take(directory)
        child.communicate()
    assert Turn().take(directory)


def test_the_child_ends_its_turn_by_the_descriptor_that_it_was_handed(directory):
    turn = Turn()
    assert turn.take(directory)
    Turn(turn.fd).close()
    assert Turn().take(directory)


@pytest.fixture
def answers(monkeypatch):
    """What the endpoint says, "" for ready; the cluster is there unless a test says otherwise."""
    said = {"reason": ""}
    monkeypatch.setattr(endpoint, "unready", lambda _at, _within_s: said["reason"])
    return said


def test_a_new_worker_of_a_cluster_that_runs_is_added(answers, tmp_path):
    assert stays_out(shipped(tmp_path), "saw-k8s-w-01") is None


@pytest.mark.parametrize(
    ("overlay", "name", "job", "said"),
    [
        ({}, "saw-k8s-w-01", "orchestrate.cluster", "orchestrate.cluster had it made, and adds it"),
        ({"cluster": {"join_new_workers": False}}, "saw-k8s-w-01", "", "cluster.join_new_workers is false"),
        ({}, "stranger", "", "has no row"),
        ({}, "../../etc", "", "has no row"),
        ({}, "saw-k8s-m-01", "", "is a control_plane; only workers"),
    ],
)
def test_a_machine_that_stays_out_is_told_why(answers, tmp_path, overlay, name, job, said):
    assert said in stays_out(shipped(tmp_path, overlay), name, job)


def test_a_cluster_that_is_not_there_gets_nothing_added_and_the_way_to_do_it_later_is_told(answers, tmp_path):
    answers["reason"] = "[Errno 113] No route to host"
    said = stays_out(shipped(tmp_path), "saw-k8s-w-01")
    assert "no API server answers at https://192.168.100.150:6443 ([Errno 113] No route to host)" in said
    assert """orchestrate.node_add pillar='{"node": "saw-k8s-w-01"}'""" in said
