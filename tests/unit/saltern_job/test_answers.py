"""What nodes return, read as Salt 3008 returns it."""

from __future__ import annotations

from saltern.answers import changed, changed_states, failed_states, faults, one_line, state_id
from saltern.steps import Call
from tests.unit.saltern_job.fakes import states

# From a run of Salt 3008.3: a failed state and one that required it.
REQUISITE = {
    "test_|-This goes wrong_|-This goes wrong_|-fail_without_changes": {
        "name": "This goes wrong", "changes": {}, "result": False, "comment": "the disk is full",
        "__sls__": "bad", "__run_num__": 1, "start_time": "21:40:21.1", "duration": 0.4, "__id__": "This goes wrong",
    },
    "test_|-This waits for it_|-This waits for it_|-nop": {
        "changes": {}, "result": False, "comment": "One or more requisite failed: bad.This goes wrong",
        "__run_num__": 2, "__sls__": "bad", "__state_ran__": False, "start_time": "21:40:21.1", "duration": 0.003,
    },
}  # fmt: skip


def test_only_causes_are_failures():
    assert failed_states(REQUISITE) == [("This goes wrong", "the disk is full", "state-failed")]


def test_a_requisite_failure_alone_is_told():
    alone = {key: ret for key, ret in REQUISITE.items() if "waits" in key}
    (fault,) = failed_states(alone)
    assert fault[:2] == ("This waits for it", "One or more requisite failed: bad.This goes wrong")


def test_state_id_from_the_key_when_the_state_did_not_run():
    assert state_id("test_|-This waits for it_|-name_|-nop", {}) == "This waits for it"
    assert state_id("odd", {}) == "odd"


def test_changed_states_in_the_order_of_the_run():
    assert changed_states(states(B_first=True, A_second=None, C_none=False)) == ["B first", "A second"]
    assert changed_states(["no states"]) == []


def test_an_sls_that_does_not_render_is_a_failure():
    assert faults("state.apply", ["Rendering SLS 'base:broken' failed: Jinja", "second"], False) == [
        ("", "Rendering SLS 'base:broken' failed: Jinja; second", "states-not-run")
    ]
    unavailable = "'state.apply' is not available."
    assert faults("state.apply", unavailable, False) == [("", unavailable, "states-not-run")]


def test_a_state_run_that_failed_without_a_failed_state_is_a_failure():
    (fault,) = faults("state.apply", {}, False)
    assert fault[:2] == ("", "the node reports a failure without naming a state")
    assert faults("state.apply", states(A=True), True) == []


def test_a_function_fails_when_the_node_says_so():
    assert faults("kubeadm.status", "Traceback ...", False) == [("", "Traceback ...", "call-failed")]
    assert faults("kubeadm.status", False, True) == []


def test_changes_only_of_state_functions():
    assert changed(Call("kube.nodes"), states(A=True)) == []
    assert changed(Call("state.apply"), states(A=True)) == ["A"]


def test_long_texts_keep_their_end():
    line = one_line("begin " + "x" * 2000 + "\n the end")
    assert line.startswith("begin") and line.endswith("the end") and len(line) < 620
