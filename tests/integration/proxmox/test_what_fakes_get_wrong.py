"""The sixteen things of Proxmox's behaviour that a simple fake gets wrong, one by one."""

from __future__ import annotations

import json
import re
import threading

import pytest

from lab.proxmox.settings import Settings
from tests.integration.proxmox.conftest import IMPATIENT, PHRASE, SETTINGS, Answer, Lab, Runner
from tests.integration.proxmox.test_capmox_sequence import upload
from tests.integration.proxmox.test_driver_sequence import seed_iso

TEMPLATE = "/nodes/pve/qemu/9000"
VM = "/nodes/pve/qemu/101"


def test_01_exact_text_in_the_reason_phrase(lab: Lab) -> None:
    answer = lab.root.get("/cluster/nextid", vmid=9000)
    assert (answer.status, answer.reason) == (400, "Parameter verification failed.")
    assert answer.json["errors"] == {"vmid": "VM 9000 already exists"}


def test_02_start_of_a_locked_vm_is_a_failed_task(lab: Lab) -> None:
    client = lab.vm()
    guest = lab.datacentre.guests.get(101, "pve")
    guest.config["lock"] = "backup"
    answer = client.post(f"{VM}/status/start")
    assert answer.status == 200
    assert client.end(answer.data)["exitstatus"] == "VM is locked (backup)"
    lines = [row["t"] for row in client.get(f"/nodes/pve/tasks/{answer.data}/log").data]
    assert lines[-1] == "TASK ERROR: VM is locked (backup)"


def test_03_cloning_vm_is_locked_nameless_and_vanishes_when_it_fails(lab: Lab) -> None:
    client = lab.root
    lab.machines.gate.clear()
    upid = client.post(f"{TEMPLATE}/clone", newid=101, name="w1").data
    assert upid.split(":")[5:8] == ["qmclone", "9000", "root@pam"]
    lab.machines.cloning.wait(10)
    config = client.get(f"{VM}/config").data
    assert (config["lock"], "name" in config) == ("clone", False)
    assert client.get(f"{VM}/status/current").data["name"] == "VM 101"
    assert client.get(f"/nodes/pve/tasks/{upid}/status").data["status"] == "running"
    lab.machines.clone_error = "disk failed"
    lab.machines.gate.set()
    assert client.end(upid)["exitstatus"] == "clone failed: disk failed"
    assert client.get(f"{VM}/config").status == 500


def test_04_config_writes_of_a_vm_queue(lab: Lab) -> None:
    client = lab.vm()
    lock = lab.datacentre.locks.acquire_guest(101, 1)
    answers: list[Answer] = []
    writer = threading.Thread(target=lambda: answers.append(client.post(f"{VM}/config", cores=3)))
    writer.start()
    other = client.post("/nodes/pve/qemu/9000/clone", newid=102)
    assert client.task(other) == "OK", "only this VM's configuration is held"
    assert not answers
    lock.release()
    writer.join(10)
    assert client.task(answers[0]) == "OK"


def test_04_who_waits_too_long_is_told_which_lock(runner: Runner) -> None:
    limits = IMPATIENT.__class__(**vars(IMPATIENT) | {"guest_lock_s": 0.1})
    lab = runner.start(Settings(durations=SETTINGS.durations, limits=limits))
    client = lab.vm()
    lab.datacentre.locks.acquire_guest(101, 1)
    text = "can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout"
    answer = client.put(f"{VM}/config", cores=3)
    assert (answer.status, answer.reason) == (500, text)
    assert client.task(client.post(f"{VM}/status/start")) == text


def test_05_types_in_json(lab: Lab) -> None:
    client = lab.vm(cores=2, onboot=1, memory=2048)
    assert client.get("/cluster/nextid").data == "100"
    assert isinstance(client.get("/nodes/pve/status").data["loadavg"][0], str)
    rows = {row["vmid"]: row for row in client.get("/nodes/pve/qemu").data}
    assert "template" not in rows[101] and rows[9000]["template"] == 1
    assert "template" not in client.get(f"{VM}/status/current").data
    config = client.get(f"{VM}/config").data
    assert (config["onboot"], config["cores"], config["memory"], config["agent"]) == (1, 2, "2048", "1")
    assert client.get(f"{VM}/status/current").data["agent"] == 1


@pytest.mark.parametrize("value", ["True", "yes", "2"])
def test_06_unknown_parameters_and_words_for_booleans_are_refused(lab: Lab, value: str) -> None:
    client = lab.vm()
    answer = client.put(f"{VM}/config", onboot=value, tag="x")
    assert answer.json["errors"] == {
        "onboot": f"type check ('boolean') failed - got '{value}'",
        "tag": "property is not defined in schema and the schema does not allow additional properties",
    }
    assert client.json("PUT", f"{VM}/config", {"onboot": True, "cores": 3}).data is None


def test_07_every_clone_has_its_own_macs_uuid_and_digest(lab: Lab) -> None:
    client = lab.vm(101)
    lab.vm(102, "w2")
    configs = [client.get(f"/nodes/pve/qemu/{vmid}/config").data for vmid in (9000, 101, 102)]
    for key in ("net0", "smbios1", "digest"):
        assert len({config[key] for config in configs}) == 3
    before = configs[1]["digest"]
    client.put(f"{VM}/config", cores=7, digest=before)
    assert client.get(f"{VM}/config").data["digest"] != before
    assert client.put(f"{VM}/config", cores=8, digest=before).status == 500


def test_08_null_for_what_is_done_and_upid_for_what_goes_on(lab: Lab) -> None:
    client = lab.vm()
    assert client.put(f"{VM}/config", cores=2).json == {"data": None}
    assert re.fullmatch(
        r"UPID:pve:[0-9A-F]{8}:[0-9A-F]{8}:[0-9A-F]{8}:qmconfig:101:root@pam:",
        client.post(f"{VM}/config", cores=3).data,
    )
    assert client.post(f"{VM}/config", cores=4, background_delay=5).json == {"data": None}
    failed = client.post(f"{VM}/config", boot="order=net9", background_delay=5)
    assert failed.reason == "invalid bootorder: device 'net9' does not exist'"


def test_09_cluster_resources_lag_and_list_new_vms_without_name(lab: Lab) -> None:
    client = lab.root
    client.get("/cluster/resources", type="vm")
    lab.vm()
    row = next(row for row in client.get("/cluster/resources", type="vm").data if row["vmid"] == 101)
    assert row == {"id": "qemu/101", "type": "qemu", "vmid": 101, "node": "pve", "status": "unknown"}
    lab.clock.ahead_s = 11
    row = next(row for row in client.get("/cluster/resources", type="vm").data if row["vmid"] == 101)
    assert (row["name"], row["status"], row["template"]) == ("w1", "stopped", 0)
    client.task(client.post(f"{VM}/status/start"))
    row = next(row for row in client.get("/cluster/resources", type="vm").data if row["vmid"] == 101)
    assert row["status"] == "stopped", "for up to ten seconds more"


def test_10_three_errors_of_the_agent(lab: Lab) -> None:
    client = lab.vm(agent=0)
    ping = f"{VM}/agent/ping"
    assert client.post(ping).reason == "No QEMU guest agent configured"
    client.put(f"{VM}/config", agent="enabled=1,fstrim_cloned_disks=1")
    assert client.post(ping).reason == "VM 101 is not running"
    lab.machines.boots = False
    client.task(client.post(f"{VM}/status/start"))
    assert client.post(ping).reason == "QEMU guest agent is not running"
    lab.machines.booted.add(101)
    assert client.post(ping).data == {"result": {}}


def test_10_commands_run_in_the_machine_and_are_told_once(lab: Lab) -> None:
    client = lab.vm()
    client.task(client.post(f"{VM}/status/start"))
    pid = client.post(f"{VM}/agent/exec", command=["tee", "/x"], **{"input__data": "abc"}).data["pid"]
    lab.datacentre.agents._commands[101, pid].ended.wait(10)
    assert client.get(f"{VM}/agent/exec-status", pid=pid).data == {"exited": 1, "exitcode": 0, "out-data": "abc"}
    assert client.get(f"{VM}/agent/exec-status", pid=pid).reason == f"Agent error: PID {pid} does not exist"


def test_11_built_drive_feeds_cloud_init(lab: Lab) -> None:
    client = lab.vm(
        ide0="local-lvm:cloudinit",
        ciuser="k8s",
        ipconfig0="ip=10.0.0.5/24,gw=10.0.0.1",
        sshkeys="ssh-ed25519%20AAAA%20me%0A",
        ciupgrade=0,
    )
    assert client.get(f"{VM}/config").data["ide0"] == "local-lvm:vm-101-cloudinit,media=cdrom,size=4M"
    assert client.task(client.post(f"{VM}/status/start")) == "OK"
    seed = lab.machines.seeds[101]
    mac = client.get(f"{VM}/config").data["net0"][7:24].lower()
    assert set(seed) == {"user-data", "meta-data", "network-config"}
    for text in ("hostname: w1", "user: k8s", "- ssh-ed25519 AAAA me", "package_upgrade: false"):
        assert text in seed["user-data"]
    for text in ("version: 1", f"mac_address: {mac}", "address: 10.0.0.5/24", "gateway: 10.0.0.1"):
        assert text in seed["network-config"]
    assert client.get(f"{VM}/cloudinit/dump", type="user").data == seed["user-data"]
    assert lab.machines.started[101].has_cloudinit_drive


def test_11_changed_options_make_a_new_instance(lab: Lab) -> None:
    client = lab.vm(ide0="local-lvm:cloudinit", ciuser="k8s")
    before = client.get(f"{VM}/cloudinit/dump", type="meta").data
    client.put(f"{VM}/config", ciuser="other")
    assert client.get(f"{VM}/cloudinit/dump", type="meta").data != before


def test_11_uploaded_image_replaces_one_of_the_same_name(lab: Lab) -> None:
    client = lab.vm()
    for text in ("#cloud-config\na: 1\n", "#cloud-config\na: 2\n"):
        assert client.task(upload(client, "pve", "seed.iso", seed_iso(text).getvalue())) == "OK"
    client.put(f"{VM}/config", ide0="local:iso/seed.iso,media=cdrom")
    client.task(client.post(f"{VM}/status/start"))
    assert lab.machines.seeds[101]["user-data"] == "#cloud-config\na: 2\n"


def test_12_permission_before_existence(lab: Lab) -> None:
    lab.datacentre.access.add_user("u@pve", PHRASE)
    assert lab.login("u@pve", PHRASE).get("/nodes/pve/qemu/4711/config").status == 403


def test_13_wrong_node_offline_node_and_upload_on_the_contacted_one(lab: Lab) -> None:
    client = lab.root
    assert client.get("/nodes/pve9/qemu").reason.startswith("hostname lookup 'pve9' failed - ")
    faults = lab.datacentre.directory / "faults.json"
    faults.write_text(json.dumps({"offline_nodes": ["pve2"]}))
    answer = client.get("/nodes/pve2/qemu")
    assert (answer.status, answer.reason, answer.body) == (595, "No route to host", b"")
    assert {row["node"]: row["status"] for row in client.get("/nodes").data} == {"pve": "online", "pve2": "offline"}
    faults.write_text(json.dumps({"quorate": False}))
    assert client.post("/pools", poolid="p").reason == "cluster not ready - no quorum?"
    faults.unlink()
    sent = upload(client, "pve2", "seed.iso", seed_iso("x").getvalue())
    assert sent.data.split(":")[1:2] + sent.data.split(":")[5:7] == ["pve", "imgcopy", ""]


def test_14_linked_clones_hold_their_base(lab: Lab) -> None:
    client = lab.vm()
    assert client.task(client.delete(TEMPLATE)).startswith("base volume 'base-9000-disk-0' is still in use")
    assert client.task(client.delete(VM)) == "OK"
    assert client.task(client.delete(TEMPLATE)) == "OK"
    assert client.get("/nodes/pve/storage/local-lvm/content").data == []


def test_14_managed_vms_are_started_and_stopped_later(lab: Lab) -> None:
    client = lab.vm()
    client.post("/cluster/ha/resources", sid="vm:101", state="stopped")
    assert client.get(f"{VM}/status/current").data["ha"] == {"managed": 1, "state": "stopped"}
    upid = client.post(f"{VM}/status/start").data
    assert upid.split(":")[5] == "hastart"
    assert client.end(upid)["exitstatus"] == "OK"
    later = next(row for row in client.get("/nodes/pve/tasks", source="all").data if row["type"] == "qmstart")
    assert client.end(later["upid"])["exitstatus"] == "OK"
    assert client.get(f"{VM}/status/current").data["status"] == "running"
    assert client.post("/cluster/ha/resources", sid="vm:9000", group="g").status == 500


def test_15_status_changes_when_the_task_runs_not_before(runner: Runner) -> None:
    durations = SETTINGS.durations.__class__(0, 0, 0, start_s=30)
    lab = runner.start(Settings(durations=durations, limits=IMPATIENT))
    client = lab.vm()
    upid = client.post(f"{VM}/status/start").data
    assert client.get(f"{VM}/status/current").data["status"] == "stopped"
    assert client.get(f"/nodes/pve/tasks/{upid}/status").data["status"] == "running"
    assert client.delete(f"/nodes/pve/tasks/{upid}").data is None
    assert client.end(upid)["exitstatus"] == "interrupted by signal"
    assert client.get(f"{VM}/status/current").data["status"] == "stopped"


def test_16_description_of_the_api_for_the_old_driver(lab: Lab) -> None:
    # The very expression with which salt-cloud's former driver reads the file.
    expression = re.compile(r" (?:pveapi|apiSchema) = (.*)^;", re.DOTALL | re.MULTILINE)
    answer = lab.client().fetch("GET", "/pve-docs/api-viewer/apidoc.js")
    tree = json.loads(expression.findall(answer.body.decode())[0])
    node = tree
    for text in ("nodes", "{node}", "qemu", "{vmid}", "clone"):
        found = next(child for child in node if child["text"] == text)
        node = found.get("children", [])
    assert found["info"]["POST"]["parameters"]["properties"]["newid"] == {"optional": 0}
