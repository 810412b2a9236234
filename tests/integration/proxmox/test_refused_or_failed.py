"""The table of what is refused at once (X) and what fails in its task (T), with the exact texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from lab.proxmox.settings import GIB, Node, Settings, Storage
from tests.integration.proxmox.conftest import IMPATIENT, QUICK, Answer, Client, Lab, Runner

SETTINGS = Settings(
    nodes=(Node("pve", "127.0.0.1"), Node("pve2", "127.0.0.2")),
    storages=(
        Storage("local", "dir", ("iso", "vztmpl", "import"), 100 * GIB),
        Storage("local-lvm", "lvmthin", ("images",), 40 * GIB),
    ),
    durations=QUICK,
    limits=IMPATIENT,
)
VM = "/nodes/pve/qemu/101"
TEMPLATE = "/nodes/pve/qemu/9000"


def plain(_lab: Lab) -> None:
    """VM 101 as cloned."""


def locked(lab: Lab) -> None:
    guest = lab.datacentre.guests.get(101, "pve")
    guest.config["lock"] = "clone"
    lab.datacentre.guests.save(guest)


def running(lab: Lab) -> None:
    root = lab.root
    assert root.task(root.post(f"{VM}/status/start")) == "OK"


def hanging(lab: Lab) -> None:
    running(lab)
    lab.machines.hangs.add(101)


def option(**values: str) -> Callable[[Lab], None]:
    def set_option(lab: Lab) -> None:
        guest = lab.datacentre.guests.get(101, "pve")
        guest.config |= values
        lab.datacentre.guests.save(guest)

    return set_option


def managed(lab: Lab) -> None:
    assert lab.root.post("/cluster/ha/resources", sid="vm:101", state="stopped").data is None


def storage_busy(lab: Lab) -> None:
    lab.held.enter_context(lab.datacentre.locks.storage("local-lvm", False, 1))


def snapshot(lab: Lab) -> None:
    root = lab.root
    assert root.task(root.post(f"{VM}/snapshot", snapname="one")) == "WARNINGS: 1"


@dataclass(frozen=True)
class Case:
    title: str
    given: Callable[[Lab], None]
    call: Callable[[Client], Answer]
    how: str
    text: str


CASES = [
    Case("clone of locked", locked, lambda c: c.post(f"{VM}/clone", newid=102), "X", "VM is locked (clone)"),
    Case("config of locked", locked, lambda c: c.post(f"{VM}/config", cores=1), "X", "VM is locked (clone)"),
    Case("sync config of locked", locked, lambda c: c.put(f"{VM}/config", cores=1), "X", "VM is locked (clone)"),
    Case(
        "move_disk of locked",
        locked,
        lambda c: c.post(f"{VM}/move_disk", disk="scsi0", storage="local-lvm"),
        "X",
        "VM is locked (clone)",
    ),
    Case("migrate of locked", locked, lambda c: c.post(f"{VM}/migrate", target="pve2"), "X", "VM is locked (clone)"),
    Case("template of locked", locked, lambda c: c.post(f"{VM}/template"), "X", "VM is locked (clone)"),
    Case("start of locked", locked, lambda c: c.post(f"{VM}/status/start"), "T", "VM is locked (clone)"),
    Case("stop of locked", locked, lambda c: c.post(f"{VM}/status/stop"), "T", "VM is locked (clone)"),
    Case(
        "resize of locked",
        locked,
        lambda c: c.put(f"{VM}/resize", disk="scsi0", size="9G"),
        "T",
        "VM is locked (clone)",
    ),
    Case("snapshot of locked", locked, lambda c: c.post(f"{VM}/snapshot", snapname="one"), "T", "VM is locked (clone)"),
    Case("delete of locked", locked, lambda c: c.delete(VM), "T", "VM is locked (clone)"),
    Case(
        "clone to a taken ID",
        plain,
        lambda c: c.post(f"{TEMPLATE}/clone", newid=101),
        "X",
        "unable to create VM 101: config file already exists",
    ),
    Case(
        "storage busy",
        storage_busy,
        lambda c: c.post(f"{TEMPLATE}/clone", newid=102),
        "T",
        "clone failed: can't lock file '/var/lock/pve-manager/pve-storage-local-lvm' - got timeout",
    ),
    Case(
        "clone to another node",
        plain,
        lambda c: c.post(f"{TEMPLATE}/clone", newid=102, target="pve2"),
        "X",
        "can't clone VM to node 'pve2' (VM uses local storage)",
    ),
    Case(
        "storage of a linked clone",
        plain,
        lambda c: c.post(f"{TEMPLATE}/clone", newid=102, storage="local-lvm"),
        "X",
        "parameter 'storage' not allowed for linked clones",
    ),
    Case(
        "format of a linked clone",
        plain,
        lambda c: c.post(f"{TEMPLATE}/clone", newid=102, format="raw"),
        "X",
        "parameter 'format' not allowed for linked clones",
    ),
    Case("start of running", running, lambda c: c.post(f"{VM}/status/start"), "T", "VM 101 already running"),
    Case(
        "start of a template",
        plain,
        lambda c: c.post(f"{TEMPLATE}/status/start"),
        "T",
        "you can't start a vm if it's a template",
    ),
    Case("stop of stopped", plain, lambda c: c.post(f"{VM}/status/stop"), "T", "OK"),
    Case("shutdown of stopped", plain, lambda c: c.post(f"{VM}/status/shutdown"), "T", "OK"),
    Case("reset of stopped", plain, lambda c: c.post(f"{VM}/status/reset"), "X", "VM 101 not running"),
    Case("reboot of stopped", plain, lambda c: c.post(f"{VM}/status/reboot"), "X", "VM 101 not running"),
    Case("delete of running", running, lambda c: c.delete(VM), "X", "VM 101 is running - destroy failed"),
    Case(
        "delete of protected",
        option(protection="1"),
        lambda c: c.delete(VM),
        "X",
        "can't remove VM 101 - protection mode enabled",
    ),
    Case(
        "delete of managed",
        managed,
        lambda c: c.delete(VM),
        "X",
        "unable to remove VM 101 - used in HA resources and purge parameter not set.",
    ),
    Case("delete of managed with purge", managed, lambda c: c.delete(VM, purge=1), "T", "OK"),
    Case(
        "delete of a template in use",
        plain,
        lambda c: c.delete(TEMPLATE),
        "T",
        "base volume 'base-9000-disk-0' is still in use by linked cloned",
    ),
    Case(
        "config of unknown",
        plain,
        lambda c: c.post("/nodes/pve/qemu/400/config", cores=1),
        "X",
        "Configuration file 'nodes/pve/qemu-server/400.conf' does not exist",
    ),
    Case(
        "status on another node",
        plain,
        lambda c: c.get("/nodes/pve2/qemu/101/status/current"),
        "X",
        "Configuration file 'nodes/pve2/qemu-server/101.conf' does not exist",
    ),
    Case(
        "start of unknown",
        plain,
        lambda c: c.post("/nodes/pve/qemu/400/status/start"),
        "T",
        "Configuration file 'nodes/pve/qemu-server/400.conf' does not exist",
    ),
    Case(
        "clone of unknown",
        plain,
        lambda c: c.post("/nodes/pve/qemu/400/clone", newid=102),
        "X",
        "unable to find configuration file for VM 400 on node 'pve'",
    ),
    Case(
        "reset of unknown",
        plain,
        lambda c: c.post("/nodes/pve/qemu/400/status/reset"),
        "X",
        "unable to find configuration file for VM 400 on node 'pve'",
    ),
    Case(
        "stop of unknown",
        plain,
        lambda c: c.post("/nodes/pve/qemu/400/status/stop"),
        "T",
        "unable to find configuration file for VM 400 on node 'pve'",
    ),
    Case(
        "shutdown of one that hangs",
        hanging,
        lambda c: c.post(f"{VM}/status/shutdown", timeout=1),
        "T",
        "VM quit/powerdown failed - got timeout",
    ),
    Case("shutdown with force", hanging, lambda c: c.post(f"{VM}/status/shutdown", forceStop=1), "T", "OK"),
    Case(
        "stale digest",
        plain,
        lambda c: c.put(f"{VM}/config", cores=1, digest="0" * 40),
        "X",
        "checksum mismatch (file change by other user?)",
    ),
    Case(
        "storage full",
        plain,
        lambda c: c.put(f"{VM}/resize", disk="scsi0", size="50G"),
        "T",
        "not enough free space (37748736 < 48234496)",
    ),
    Case(
        "shrinking",
        plain,
        lambda c: c.put(f"{VM}/resize", disk="scsi0", size="1G"),
        "T",
        "shrinking disks is not supported",
    ),
    Case(
        "resize of no disk",
        plain,
        lambda c: c.put(f"{VM}/resize", disk="scsi5", size="9G"),
        "T",
        "disk 'scsi5' does not exist",
    ),
    Case(
        "boot from nothing",
        plain,
        lambda c: c.post(f"{VM}/config", boot="order=scsi0;ide3"),
        "T",
        "invalid bootorder: device 'ide3' does not exist'",
    ),
    Case(
        "image that is not there",
        plain,
        lambda c: c.post(f"{VM}/config", ide3="local:iso/none.iso,media=cdrom"),
        "T",
        "volume 'local:iso/none.iso' does not exist",
    ),
    Case(
        "snapshot of the same name",
        snapshot,
        lambda c: c.post(f"{VM}/snapshot", snapname="one"),
        "T",
        "snapshot name 'one' already used",
    ),
    Case(
        "migrate of running",
        running,
        lambda c: c.post(f"{VM}/migrate", target="pve2"),
        "X",
        "can't migrate running VM without --online",
    ),
    Case(
        "linked clone of no template",
        plain,
        lambda c: c.post(f"{VM}/clone", newid=102, full=0),
        "X",
        "Linked clone feature is not supported for drive 'scsi0'",
    ),
    Case(
        "upload of a wrong content",
        plain,
        lambda c: c.post("/nodes/pve/storage/local-lvm/upload", content="iso", filename="a.iso"),
        "X",
        "storage 'local-lvm' does not support 'iso' content",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_refused_or_failed(runner: Runner, case: Case) -> None:
    lab = runner.start(SETTINGS)
    client = lab.vm()
    case.given(lab)
    answer = case.call(client)
    if case.how == "X":
        assert (answer.status, answer.reason) == (500, case.text)
    else:
        assert client.task(answer) == case.text


def test_reading_a_locked_vm_works(lab: Lab) -> None:
    client = lab.vm()
    locked(lab)
    assert client.get(f"{VM}/config").data["lock"] == "clone"
    assert client.get(f"{VM}/status/current").data["lock"] == "clone"


def test_failed_clone_leaves_nothing(lab: Lab) -> None:
    lab.machines.clone_error = "No space left on device"
    client = lab.root
    assert client.task(client.post(f"{TEMPLATE}/clone", newid=101)) == "clone failed: No space left on device"
    assert client.get(f"{VM}/config").status == 500
    assert [row["volid"] for row in client.get("/nodes/pve/storage/local-lvm/content").data] == [
        "local-lvm:base-9000-disk-0"
    ]
    assert client.get("/cluster/nextid", vmid=101).data == "101"


def test_two_callers_with_one_id(lab: Lab) -> None:
    lab.machines.gate.clear()
    client = lab.root
    first = client.post(f"{TEMPLATE}/clone", newid=101)
    lab.machines.cloning.wait(10)
    second = client.post(f"{TEMPLATE}/clone", newid=101)
    assert (second.status, second.reason) == (500, "unable to create VM 101: config file already exists")
    lab.machines.gate.set()
    assert client.task(first) == "OK"


def test_shared_storage_has_the_clusters_lock(runner: Runner) -> None:
    storages = (SETTINGS.storages[0], Storage("ceph", "rbd", ("images",), 40 * GIB, shared=True))
    lab = runner.start(Settings(storages=storages, durations=QUICK, limits=IMPATIENT))
    lab.held.enter_context(lab.datacentre.locks.storage("ceph", True, 1))
    client = lab.root
    expected = "clone failed: cfs-lock 'storage-ceph' error: got lock request timeout"
    assert client.task(client.post(f"{TEMPLATE}/clone", newid=101)) == expected


def test_refused_change_gives_the_file_lock_back(lab: Lab) -> None:
    client = lab.vm()
    locked(lab)
    assert client.put(f"{VM}/config", cores=1).reason == "VM is locked (clone)"
    del lab.datacentre.guests.get(101, "pve").config["lock"]
    assert client.put(f"{VM}/config", cores=1).data is None


def test_base_volume_in_use_cannot_be_deleted_by_itself(lab: Lab) -> None:
    client = lab.vm()
    base = "/nodes/pve/storage/local-lvm/content/local-lvm:base-9000-disk-0"
    expected = "base volume 'base-9000-disk-0' is still in use by linked cloned"
    assert client.task(client.delete(base)) == expected
    assert client.get(base).data["size"] == 4 * GIB


def test_clones_at_the_same_time_wait_for_the_storage_and_give_up(runner: Runner) -> None:
    slow = QUICK.__class__(**vars(QUICK) | {"linked_clone_s": 60})
    lab = runner.start(Settings(durations=slow, limits=IMPATIENT))
    client = lab.root
    first = client.post(f"{TEMPLATE}/clone", newid=101).data
    log = f"/nodes/pve/tasks/{first}/log"
    has_storage = "create linked clone of drive scsi0 (local-lvm:base-9000-disk-0)"
    assert any(client.get(log).data[0]["t"] == has_storage for _ in range(1000))
    expected = "clone failed: can't lock file '/var/lock/pve-manager/pve-storage-local-lvm' - got timeout"
    assert client.task(client.post(f"{TEMPLATE}/clone", newid=102)) == expected
    client.delete(f"/nodes/pve/tasks/{first}")
    assert client.end(first)["exitstatus"] == "clone failed: interrupted by signal"
    assert [row["vmid"] for row in client.get("/nodes/pve/qemu").data] == [9000]


def test_root_may_pass_over_a_lock_and_take_it_away(lab: Lab) -> None:
    client = lab.vm()
    locked(lab)
    assert client.task(client.post(f"{VM}/status/start", skiplock=1)) == "OK"
    assert client.task(client.post(f"{VM}/status/stop", skiplock=1)) == "OK"
    assert client.put(f"{VM}/config", delete="lock", skiplock=1).data is None
    assert client.put(f"{VM}/config", lock="backup").data is None
    assert client.task(client.delete(VM)) == "VM is locked (backup)"
    refused = lab.saltern.delete(VM, skiplock=1)
    assert (refused.status, refused.json["errors"]) == (400, {"skiplock": "Only root may use this option."})
    assert client.task(client.delete(VM, skiplock=1)) == "OK"
