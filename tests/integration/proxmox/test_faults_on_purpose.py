"""Failures that a file of rules brings about."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.proxmox.conftest import Answer, Client, Lab

TEMPLATE = "/nodes/pve/qemu/9000"
VM = "/nodes/pve/qemu/101"


def rules(lab: Lab, *rows: dict[str, Any], **more: Any) -> None:
    (lab.datacentre.directory / "faults.json").write_text(json.dumps({"rules": rows} | more))


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


def test_task_warns_and_has_done_its_work(lab: Lab) -> None:
    client = lab.vm()
    rules(lab, {"method": "POST", "path": ".*/status/start", "effect": {"task_warning": "no CPU flag"}})
    started = client.post(f"{VM}/status/start")
    assert client.task(started) == "WARNINGS: 1"
    lines = [line["t"] for line in client.get(f"/nodes/pve/tasks/{started.data}/log").data]
    assert lines == ["WARN: no CPU flag", "TASK WARNINGS: 1"]
    assert lab.machines.running(101)


@pytest.mark.parametrize(("effect", "status", "mark"), [("OK", "OK", ""), ("warnings", "WARNINGS: 2", "WARN: ")])
def test_a_destroy_that_leaves_the_disks_ends_well(lab: Lab, effect: str, status: str, mark: str) -> None:
    client = lab.vm()
    rules(lab, {"method": "DELETE", "path": VM, "effect": {"disks_left": effect}})
    ended = client.delete(VM)
    assert client.task(ended) == status
    assert client.get(f"{VM}/config").reason == "Configuration file 'nodes/pve/qemu-server/101.conf' does not exist"
    why = "can't lock file '/var/lock/pve-manager/pve-storage-local-lvm' - got timeout"
    lines = [line["t"] for line in client.get(f"/nodes/pve/tasks/{ended.data}/log").data]
    assert lines[-3:-1] == [
        f"{mark}Could not remove disk 'local-lvm:vm-101-disk-0', check manually: {why}",
        f"{mark}{why}",
    ]
    storage = "/nodes/pve/storage/local-lvm/content"
    (left,) = client.get(storage, content="images", vmid=101).data
    assert left["volid"] == "local-lvm:vm-101-disk-0"
    assert client.task(client.delete(f"{storage}/{left['volid']}")) == "OK"
    assert client.get(storage, content="images", vmid=101).data == []


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


def test_an_expired_ticket_stays_expired_and_a_new_one_is_good(lab: Lab) -> None:
    client = lab.root
    rules(lab, {"path": "/version", "calls": [1], "effect": {"expired_ticket": True}})
    answers = [client.get("/version") for _ in range(2)]
    assert [(each.status, each.reason, each.body) for each in answers] == [(401, "Authentication failed!", b"")] * 2
    assert lab.root.get("/version").status == 200


def test_a_token_does_not_expire_like_a_ticket(lab: Lab) -> None:
    rules(lab, {"path": "/version", "effect": {"expired_ticket": True}})
    assert lab.saltern.get("/version").status == 200


def test_a_task_that_fails_before_its_work_gives_back_what_it_was_handed(lab: Lab) -> None:
    client = lab.vm()
    rules(lab, {"method": "POST", "path": ".*/(config|upload)", "effect": {"task_failure": "interrupted by signal"}})
    assert client.task(client.post(f"{VM}/config", cores=1)) == "interrupted by signal"
    assert client.task(upload(client)) == "interrupted by signal"
    rules(lab)
    assert client.task(client.post(f"{VM}/config", cores=3)) == "OK"
    assert list(lab.datacentre.uploads.iterdir()) == []


def upload(client: Client, name: str = "x.iso") -> Answer:
    head = 'Content-Disposition: form-data; name="{}"'
    parts = [
        f"--b\r\n{head.format('content')}\r\n\r\niso\r\n",
        f"--b\r\n{head.format('filename')}; filename=\"{name}\"\r\n\r\nseed\r\n--b--\r\n",
    ]
    return client.send(
        "POST", "/nodes/pve/storage/local/upload", "".join(parts), **{"Content-Type": "multipart/form-data; boundary=b"}
    )


def test_a_slow_task_runs_until_its_time_or_until_it_is_aborted(lab: Lab) -> None:
    client = lab.vm()
    rules(lab, {"path": ".*/status/start", "effect": {"task_delay_s": 30}})
    upid = client.post(f"{VM}/status/start").data
    assert client.get(f"/nodes/pve/tasks/{upid}/status").data["status"] == "running"
    assert client.delete(f"/nodes/pve/tasks/{upid}").status == 200
    assert client.end(upid)["exitstatus"] == "interrupted by signal"
    assert not lab.machines.running(101)
    rules(lab, {"path": ".*/status/start", "effect": {"task_delay_s": 0.05}})
    assert client.task(client.post(f"{VM}/status/start")) == "OK"


def test_a_lost_answer_does_not_stop_the_work(lab: Lab) -> None:
    client = lab.root
    lost = {"status": 596, "reason": "Connection timed out", "after_work": True}
    rules(lab, {"method": "POST", "path": ".*/(clone|upload)", "effect": lost})
    answers = [client.post(f"{TEMPLATE}/clone", newid=101, name="w1"), upload(client)]
    assert [(answer.status, answer.body) for answer in answers] == [(596, b"")] * 2
    lab.datacentre.tasks.wait_all(10)
    assert client.get(f"{VM}/config").data["name"] == "w1"
    assert [row["volid"] for row in client.get("/nodes/pve/storage/local/content").data] == ["local:iso/x.iso"]


def test_a_machine_vanishes_with_its_disks(lab: Lab) -> None:
    client = lab.vm()
    assert client.task(client.post(f"{VM}/status/start")) == "OK"
    rules(lab, {"method": "POST", "path": ".*/config", "effect": {"vanish": True}})
    answer = client.post(f"{VM}/config", cores=1)
    assert answer.reason == "Configuration file 'nodes/pve/qemu-server/101.conf' does not exist"
    assert 101 not in lab.machines.machines | lab.machines.on
    assert [row["vmid"] for row in client.get("/nodes/pve/storage/local-lvm/content").data] == [9000]


def test_a_template_does_not_vanish(lab: Lab) -> None:
    client = lab.root
    rules(lab, {"path": ".*/clone", "effect": {"vanish": True}})
    assert client.task(client.post(f"{TEMPLATE}/clone", newid=101)) == "OK"


def test_a_number_is_taken_before_the_call_or_in_its_task(lab: Lab) -> None:
    client = lab.root
    rules(lab, {"path": ".*/clone", "effect": {"number_taken": "call"}})
    answer = client.post(f"{TEMPLATE}/clone", newid=101)
    assert (answer.status, answer.reason) == (500, "unable to create VM 101: config file already exists")
    rules(lab, {"path": ".*/clone", "effect": {"number_taken": "task"}})
    assert client.task(client.post(f"{TEMPLATE}/clone", newid=102)) == (
        "unable to create VM 102: config file already exists"
    )
    assert [client.get(f"/nodes/pve/qemu/{vmid}/config").data["name"] for vmid in (101, 102)] == [
        "stranger-101",
        "stranger-102",
    ]


def test_full_storages(lab: Lab) -> None:
    client = lab.vm()
    rules(lab, full_storages=["local", "local-lvm"])
    assert client.task(client.post(f"{TEMPLATE}/clone", newid=102)) == (
        "clone failed: clone image 'pve/base-9000-disk-0' error:   Cannot create new thin volume, free space in thin "
        "pool pve/data reached threshold."
    )
    assert client.task(client.post(f"{TEMPLATE}/clone", newid=102, full=1)) == (
        "clone failed: not enough free space (0 < 4194304)"
    )
    assert client.task(client.put(f"{VM}/resize", disk="scsi0", size="20G")) == "not enough free space (0 < 16777216)"
    assert client.task(upload(client)).endswith("x.iso': No space left on device")
    assert client.get("/nodes/pve/storage/local/content").data == []
    assert client.get("/nodes/pve/storage/local/status").data["avail"] == 0
    assert 102 not in [row["vmid"] for row in client.get("/nodes/pve/qemu").data]
