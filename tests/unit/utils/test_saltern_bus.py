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


def test_of_several_functions_those_that_failed_are_what_is_told(bus):
    parts = {"return": {"a.b": {"much": 1}, "c.d": "Traceback"}, "retcode": {"a.b": 0, "c.d": 1}}
    assert bus.job_event("salt/job/2026/ret/n1", RETURN | parts).value == {"c.d": "Traceback"}
    parts["retcode"]["c.d"] = 0
    assert bus.job_event("salt/job/2026/ret/n1", RETURN | parts).value == parts["return"]


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
