"""Why no control-plane node is healthy: what nodes report, and the runbook that it leads to."""

from __future__ import annotations

import pytest

from saltern import diagnosis

NAMES = ("m1", "m2", "m3")
SICK = {"joined": True, "healthy": False, "expired": [], "etcd_leader": None}


def certificates(**days):
    return [{"name": name, "days": left, "lifetime_days": 365.0} for name, left in days.items()]


@pytest.mark.parametrize(
    ("status", "cause", "code"),
    [
        ({}, "", "control-plane-unhealthy"),
        ({"m1": {"joined": True, "healthy": False}}, "", "control-plane-unhealthy"),
        ({"m1": SICK, "m2": SICK | {"etcd_leader": True}}, "", "control-plane-unhealthy"),
        (
            {"m1": SICK | {"etcd_leader": False}, "m2": SICK},
            "etcd has no quorum: no leader is seen by the member on m1",
            "etcd-quorum-lost",
        ),
        (
            {"m1": SICK | {"expired": ["apiserver", "etcd/server"], "etcd_leader": False}, "m2": SICK},
            "certificates have expired: on m1 apiserver, etcd/server",
            "certificate-expired",
        ),
    ],
)
def test_by_the_membership_of_nodes(status, cause, code):
    found = diagnosis.of_status(status, NAMES)
    assert (found.cause, found.code) == (cause, code)
    assert found.note == (f" ({cause})" if cause else "")


def test_one_that_sees_a_leader_speaks_for_a_majority():
    status = {"m1": SICK | {"etcd_leader": False}, "m2": SICK | {"etcd_leader": True}}
    assert diagnosis.of_status(status, NAMES).code == "control-plane-unhealthy"


def test_what_a_worker_reports_is_no_reason():
    assert diagnosis.of_status({"w1": SICK | {"expired": ["kubelet client"]}}, NAMES).code == "control-plane-unhealthy"


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"m1": {"errors": {"etcd": "etcd does not answer"}, "certificates": []}}, "control-plane-unhealthy"),
        ({"m1": {"etcd": {"leader": ""}, "certificates": certificates(apiserver=0.0)}}, "etcd-quorum-lost"),
        ({"m1": {"etcd": {"leader": "a"}, "certificates": certificates(apiserver=-0.1)}}, "certificate-expired"),
        ({"w1": {"certificates": certificates(apiserver=-0.1)}}, "control-plane-unhealthy"),
    ],
)
def test_by_the_facts_that_the_status_asks_for(facts, code):
    assert diagnosis.of_facts(facts, NAMES).code == code
