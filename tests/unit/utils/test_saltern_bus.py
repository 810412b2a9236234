"""Events of Salt 3008's bus, as a job reads them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from saltern.steps import Progressed, Returned

SOURCE = Path(__file__).parents[3] / "_utils" / "saltern_bus.py"


@pytest.fixture(scope="module")
def bus():
    spec = importlib.util.spec_from_file_location("saltern_bus_under_test", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RETURN = {"cmd": "_return", "id": "n1", "success": True, "return": {"x": 1}, "retcode": 0, "jid": "2026", "fun": "f"}
PROGRESS = {
    "cmd": "_minion_event", "id": "n1", "tag": "salt/job/2026/prog/n1/3", "_stamp": "2026-01-31",
    "data": {"ret": {"name": "swap", "__id__": "Swap is off", "__run_num__": 3, "result": True}, "len": 9},
}  # fmt: skip


def test_a_return(bus):
    assert bus.job_event("salt/job/2026/ret/n1", RETURN) == Returned("2026", "n1", {"x": 1}, True)


@pytest.mark.parametrize(
    "rest",
    [{"retcode": 2}, {"success": False}, {"retcode": {"a.b": 0, "c.d": 1}}],
)
def test_a_return_that_failed(bus, rest):
    assert bus.job_event("salt/job/2026/ret/n1", RETURN | rest).ok is False


# Of a minion of Salt 3008.3, whose second function raised: it has no code, and is no success.
RAISED = {
    "fun": ["preflight.clock", "preflight.findings"],
    "return": {
        "preflight.clock": 1795220223.5,
        "preflight.findings": "Traceback (most recent call last):\n"
        '  File "/opt/saltstack/salt/lib/python3.11/site-packages/salt/minion.py", line 3674, in _thread_multi_return\n'
        "    return_data = minion_instance._execute_job_function(\n"
        "                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
        "salt.exceptions.CommandExecutionError: saw-k8s-m-01: ip: not found\nis iproute2 installed?\n",
    },
    "retcode": {"preflight.clock": 0},
    "success": {"preflight.clock": True, "preflight.findings": False},
}


def test_of_several_functions_one_raised(bus):
    event = bus.job_event("salt/job/2026/ret/n1", RETURN | RAISED)
    assert event.ok is False
    assert event.value == "preflight.findings: saw-k8s-m-01: ip: not found\nis iproute2 installed?"


def test_of_several_functions_one_failed(bus):
    parts = {"return": {"a.b": {"much": 1}, "c.d": "full"}, "retcode": {"a.b": 0, "c.d": 1}}
    event = bus.job_event("salt/job/2026/ret/n1", RETURN | parts | {"success": {"a.b": True, "c.d": False}})
    assert (event.ok, event.value) == (False, "c.d: full")


def test_of_several_functions_none_failed(bus):
    parts = {"return": {"a.b": 1, "c.d": 2}, "retcode": {"a.b": 0, "c.d": 0}, "success": {"a.b": True, "c.d": True}}
    event = bus.job_event("salt/job/2026/ret/n1", RETURN | parts)
    assert (event.ok, event.value) == (True, {"a.b": 1, "c.d": 2})


def test_several_functions_that_went_well(bus):
    assert bus.job_event("salt/job/2026/ret/n1", RETURN | {"retcode": {"a.b": 0}, "success": {"a.b": True}}).ok


def test_progress(bus):
    expected = Progressed("2026", "n1", "Swap is off", 4, 9)
    assert bus.job_event(PROGRESS["tag"], PROGRESS) == expected
    # Fired on the master itself, the event's data is not wrapped.
    assert bus.job_event(PROGRESS["tag"], PROGRESS["data"]) == expected


@pytest.mark.parametrize("tag", ["salt/job/2026/new", "salt/auth", "salt/cloud/n1/creating", "minion/refresh/n1"])
def test_other_events_are_not_a_jobs(bus, tag):
    assert bus.job_event(tag, {}) is None
