"""What is left of the state when the API process ends and starts again."""

from __future__ import annotations

import json

from lab.proxmox.datacentre import Datacentre
from lab.proxmox.settings import Durations, Settings
from tests.integration.proxmox.conftest import IMPATIENT, SETTINGS, Lab, Runner

TEMPLATE = "/nodes/pve/qemu/9000"
VM = "/nodes/pve/qemu/101"


def test_everything_is_there_after_a_restart(runner: Runner) -> None:
    first = runner.start()
    client = first.vm(101, "w1", cores=4, tags="a")
    client.post("/pools", poolid="k8s")
    client.put("/pools/k8s", vms="101")
    upid = client.post(f"{VM}/snapshot", snapname="one").data
    client.end(upid)
    config = client.get(f"{VM}/config").data
    runner.stop()

    second = runner.start(machines=first.machines)
    assert second.password == first.password and second.token == first.token
    root = second.client(**client.headers)
    assert root.get(f"{VM}/config").data == config, "and the ticket of before is still good"
    assert root.get(f"/nodes/pve/tasks/{upid}/status").data["exitstatus"] == "WARNINGS: 1"
    assert root.get("/pools/k8s").data["members"][0]["vmid"] == 101
    assert [row["name"] for row in root.get(f"{VM}/snapshot").data] == ["one", "current"]
    assert second.saltern.get(f"{VM}/config").status == 200
    new = root.post(f"{VM}/config", cores=5).data
    assert int(new.split(":")[2], 16) > int(upid.split(":")[2], 16), "task numbers go on"


def crashed(lab: Lab) -> dict[str, str]:
    """Return the records on disk at this moment: what a process that is killed now leaves behind."""
    directory = lab.datacentre.directory
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*.json")}


def test_crash_in_the_middle_of_a_clone(runner: Runner) -> None:
    first = runner.start()
    first.machines.gate.clear()
    upid = first.root.post(f"{TEMPLATE}/clone", newid=101, name="w1").data
    first.machines.cloning.wait(10)
    left = crashed(first)
    assert json.loads(left["guests/101.json"])["config"] == {"lock": "clone"}
    first.machines.gate.set()
    first.root.end(upid)
    runner.stop()
    for name, text in left.items():
        (runner.directory / name).write_text(text)

    second = runner.start(machines=first.machines)
    root = second.root
    status = root.get(f"/nodes/pve/tasks/{upid}/status").data
    assert (status["status"], status["exitstatus"]) == ("stopped", "unexpected status")
    assert root.get(f"{VM}/config").status == 500
    assert second.machines.machines == {9000}
    assert [row["volid"] for row in root.get("/nodes/pve/storage/local-lvm/content").data] == [
        "local-lvm:base-9000-disk-0"
    ]
    second.machines.gate.set()
    assert root.task(root.post(f"{TEMPLATE}/clone", newid=101)) == "OK"


def test_half_made_vm_that_cannot_be_removed_waits_for_the_next_start(runner: Runner) -> None:
    first = runner.start()
    first.vm()
    guest = first.datacentre.guests.get(101, "pve")
    guest.config["lock"] = "clone"
    first.datacentre.guests.save(guest)
    runner.stop()
    first.machines.destroy_error = "device is busy"
    assert runner.start(machines=first.machines).root.get(f"{VM}/config").data["lock"] == "clone"
    runner.stop()
    first.machines.destroy_error = None
    assert runner.start(machines=first.machines).root.get(f"{VM}/config").status == 500


def test_other_locks_are_released_and_upload_fragments_removed(runner: Runner) -> None:
    first = runner.start()
    first.vm()
    guest = first.datacentre.guests.get(101, "pve")
    guest.config["lock"] = "snapshot"
    first.datacentre.guests.save(guest)
    runner.stop()
    fragment = runner.directory / "uploads" / "pveupload-1"
    fragment.parent.mkdir(exist_ok=True)
    fragment.write_text("half")
    root = runner.start(machines=first.machines).root
    assert "lock" not in root.get(f"{VM}/config").data
    assert not fragment.exists()


def test_running_machine_goes_on(runner: Runner) -> None:
    first = runner.start()
    client = first.vm()
    client.task(client.post(f"{VM}/status/start"))
    runner.stop()
    second = runner.start(machines=first.machines)
    assert second.root.get(f"{VM}/status/current").data["status"] == "running"


def test_operators_changes_to_the_access_list_stay(runner: Runner) -> None:
    first = runner.start()
    first.root.put("/access/acl", path="/vms", roles="SalternMachine", users="saltern@pve", delete=1)
    runner.stop()
    second = runner.start(machines=first.machines)
    assert second.saltern.get("/nodes/pve/qemu/4711/config").status == 403


def test_password_file_of_the_operator_is_taken(runner: Runner) -> None:
    first = runner.start()
    path = first.datacentre.directory / "credentials" / "root@pam.password"
    runner.stop()
    path.write_text("chosen by hand\n")
    second = runner.start(machines=first.machines)
    assert second.login("root@pam", "chosen by hand").get("/version").status == 200
    assert second.client().post("/access/ticket", username="root@pam", password=first.password).status == 401


def test_secrets_and_state_are_for_their_owner_only(lab: Lab) -> None:
    directory = lab.datacentre.directory
    lab.vm()
    open_to_others = {
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o077
    }
    assert open_to_others == {"ca/ca.pem", "tls/server.pem"}
    assert directory.stat().st_mode & 0o077 == 0


def test_tasks_may_end_before_the_process_does(runner: Runner) -> None:
    lab = runner.start(Settings(nodes=SETTINGS.nodes, durations=Durations(0, 0, 0, start_s=0.2), limits=IMPATIENT))
    client = lab.vm()
    upid = client.post(f"{VM}/status/start").data
    assert lab.datacentre.tasks.wait_all(10) == 0
    assert lab.datacentre.tasks.get(upid).exitstatus == "OK"
    assert isinstance(lab.datacentre, Datacentre)
