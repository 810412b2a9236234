"""Failures that a file of rules brings about."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.proxmox.conftest import Lab

TEMPLATE = "/nodes/pve/qemu/9000"
VM = "/nodes/pve/qemu/101"


def rules(lab: Lab, *rows: dict[str, Any]) -> None:
    (lab.datacentre.directory / "faults.json").write_text(json.dumps({"rules": rows}))


def test_second_call_fails_with_a_status(lab: Lab) -> None:
    client = lab.root
    rules(lab, {"path": "/version", "calls": [2], "effect": {"status": 500, "reason": "got no worker process"}})
    answers = [client.get("/version") for _ in range(3)]
    assert [(each.status, each.reason) for each in answers] == [
        (200, "OK"),
        (500, "got no worker process"),
        (200, "OK"),
    ]


def test_proxy_errors_have_no_body(lab: Lab) -> None:
    client = lab.root
    rules(lab, {"path": "/nodes/pve/.*", "effect": {"status": 596, "reason": "Connection timed out"}})
    answer = client.get("/nodes/pve/qemu")
    assert (answer.status, answer.reason, answer.body) == (596, "Connection timed out", b"")


def test_task_fails_before_or_after_its_work(lab: Lab) -> None:
    client = lab.vm()
    effect = {"task_failure": "start failed: QEMU exited with code 1"}
    rules(lab, {"method": "POST", "path": ".*/status/start", "effect": effect})
    assert client.task(client.post(f"{VM}/status/start")) == "start failed: QEMU exited with code 1"
    assert not lab.machines.running(101)
    rules(lab, {"method": "POST", "path": ".*/status/start", "effect": effect | {"after_work": True}})
    assert client.task(client.post(f"{VM}/status/start")) == "start failed: QEMU exited with code 1"
    assert lab.machines.running(101), "a failed start may have started the VM"


def test_lock_timeouts(lab: Lab) -> None:
    client = lab.vm()
    rules(
        lab,
        {"path": ".*/clone", "effect": {"lock_timeout": "storage"}},
        {"path": ".*/config", "method": "POST", "effect": {"lock_timeout": "guest"}},
    )
    assert client.task(client.post(f"{TEMPLATE}/clone", newid=102)) == (
        "clone failed: can't lock file '/var/lock/pve-manager/pve-storage-local-lvm' - got timeout"
    )
    assert client.get("/nodes/pve/qemu/102/config").status == 500
    answer = client.post(f"{VM}/config", cores=1)
    assert answer.reason == "can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout"


def test_rules_go_with_their_file(lab: Lab) -> None:
    client = lab.root
    rules(lab, {"path": ".*", "effect": {"status": 500, "reason": "down"}})
    assert client.get("/version").status == 500
    (lab.datacentre.directory / "faults.json").unlink()
    assert client.get("/version").status == 200


def test_broken_rules_name_the_file(lab: Lab) -> None:
    client = lab.root
    rules(lab, {"path": ".*", "effect": {"explode": True}})
    answer = client.get("/version")
    assert answer.status == 500
    assert "faults.json: unknown key explode in the rule for .*" in answer.reason


def test_expired_ticket_in_the_middle(lab: Lab) -> None:
    client = lab.root
    rules(lab, {"path": "/version", "calls": [1], "effect": {"status": 401, "reason": "Authentication failed!"}})
    assert client.get("/version").status == 401
    assert client.get("/version").status == 200
