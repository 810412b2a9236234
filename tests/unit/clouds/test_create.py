"""Creating machines against a fake API on the wire: the calls, the result, retries, and what failures leave."""

from __future__ import annotations

import re
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pycdlib
import pytest
import yaml

from saltern.proxmox import settings as provider_settings
from saltern.proxmox.api import Proxmox
from saltern.proxmox.create import CreateFailedError, Creation, Limits, Order
from saltern.proxmox.errors import (
    BusyError,
    MachineIdTakenError,
    NodeOfflineError,
    PermissionDeniedError,
    RefusedError,
    StorageFullError,
    TaskFailedError,
    TimedOutError,
    UnknownTemplateError,
)
from saltern.proxmox.journal import Journal
from tests.unit.clouds.conftest import SSH_KEY, FakeMinions, Pauses
from tests.unit.clouds.fake_proxmox import FakeProxmox, Fault, Guest, RefusalError

NAME = "saw-k8s-w-01"
LOCK_TIMEOUT = "clone failed: can't lock file '/var/lock/pve-manager/pve-storage-local-lvm' - got timeout"


def read_iso(image: bytes) -> dict[str, str]:
    """The files of an ISO image by their Rock Ridge names, and its label as ""."""
    disc = pycdlib.PyCdlib()
    disc.open_fp(BytesIO(image))
    files = {"": disc.pvd.volume_identifier.decode().strip()}
    for child in disc.list_children(rr_path="/"):
        if child.is_file():
            out = BytesIO()
            disc.get_file_from_iso_fp(out, rr_path="/" + child.rock_ridge.name().decode())
            files[child.rock_ridge.name().decode()] = out.getvalue().decode()
    disc.close()
    return files


@pytest.fixture
def seeds(fake: FakeProxmox) -> list[dict[str, str]]:
    """The seed images that machines found in their drive when they started."""
    found: list[dict[str, str]] = []

    def keep(_vmid: int, guest: Guest) -> None:
        found.append(read_iso(fake.images[guest.config["ide2"].split(",")[0]]))

    fake.on_start = keep
    return found


def test_create_makes_the_row_of_the_table(
    creation: Creation, fake: FakeProxmox, place: Any, minions: FakeMinions, seeds: list[dict[str, str]]
) -> None:
    created = creation.create(NAME, place("worker"))

    assert (created.new, created.address, created.machine.vmid) == (True, "192.168.100.154", 100)
    config = fake.guests[100].config
    assert fake.guests[100].running
    assert {key: config[key] for key in ("name", "cores", "memory", "ipconfig0", "onboot", "agent", "tags")} == {
        "name": NAME,
        "cores": "2",
        "memory": "16384",
        "ipconfig0": "ip=192.168.100.154/24,gw=192.168.100.1",
        "onboot": "1",
        "agent": "1",
        "tags": "saltern;saw-k8s;worker",
    }
    assert re.fullmatch(r"virtio=BC:24:11(:[0-9A-F]{2}){3},bridge=vmbr0", config["net0"])
    assert urllib.parse.unquote(config["sshkeys"]) == SSH_KEY
    assert config["scsi0"].endswith("size=20G")
    assert config["boot"] == "order=scsi0"
    assert minions.keys == {NAME: "PUBLIC KEY 1\n"}


def test_create_uses_the_least_calls(creation: Creation, fake: FakeProxmox, place: Any) -> None:
    creation.create(NAME, place("worker"))
    calls = [re.sub(r"seed-[0-9a-f]{16}", "seed-X", call) for call in fake.made("GET", "POST", "PUT", "DELETE")]
    assert calls == [
        "GET nodes",
        "GET nodes/pve/qemu",
        "GET nodes/pve/qemu/9000/config",
        "GET cluster/nextid",
        "POST nodes/pve/qemu/9000/clone",
        "POST nodes/pve/storage/local/upload",
        "POST nodes/pve/qemu/100/config",
        "PUT nodes/pve/qemu/100/resize",
        "POST nodes/pve/qemu/100/status/start",
        "POST nodes/pve/qemu/100/config",
        "DELETE nodes/pve/storage/local/content/local:iso/saw-k8s-w-01-seed-X.iso",
    ]


def test_the_seed_carries_identity_account_and_network(
    creation: Creation, fake: FakeProxmox, place: Any, seeds: list[dict[str, str]]
) -> None:
    creation.create(NAME, place("worker"))
    (seed,) = seeds
    assert seed[""] == "cidata"
    assert seed["user-data"].startswith("#cloud-config\n")
    user_data, meta_data = yaml.safe_load(seed["user-data"]), yaml.safe_load(seed["meta-data"])
    network = yaml.safe_load(seed["network-config"])

    files = {each["path"]: (each["permissions"], each["content"]) for each in user_data["write_files"]}
    assert files["/etc/salt/pki/minion/minion.pem"] == ("0400", "PRIVATE KEY 1\n")
    assert files["/etc/salt/pki/minion/minion.pub"] == ("0644", "PUBLIC KEY 1\n")
    assert files["/etc/salt/pki/minion/minion_master.pub"] == ("0644", "MASTER PUBLIC KEY\n")
    assert yaml.safe_load(files["/etc/salt/minion.d/saltern.conf"][1]) == {"master": "192.168.100.1", "id": NAME}
    assert user_data["hostname"] == meta_data["local-hostname"] == NAME
    assert [(user["name"], user["ssh_authorized_keys"]) for user in user_data["users"]] == [("k8s", [SSH_KEY])]
    assert ["systemctl", "enable", "salt-minion.service"] in user_data["runcmd"]
    drop_in = files["/etc/systemd/system/salt-minion.service.d/saltern.conf"]
    assert drop_in == ("0644", "[Service]\nRestart=on-failure\nRestartSec=5\n")

    mac = fake.guests[100].config["net0"].split("=")[1].split(",")[0]
    (interface,) = network["ethernets"].values()
    assert interface["match"] == {"macaddress": mac.lower()}
    assert interface["addresses"] == ["192.168.100.154/24"]
    assert interface["routes"] == [{"to": "0.0.0.0/0", "via": "192.168.100.1"}]
    assert interface["nameservers"] == {"addresses": ["192.168.100.1"]}


def test_each_machine_is_a_new_instance_for_cloud_init(
    creation: Creation, place: Any, seeds: list[dict[str, str]]
) -> None:
    creation.create(NAME, place("worker"))
    creation.create("saw-k8s-w-02", place("worker"))
    assert len({yaml.safe_load(seed["meta-data"])["instance-id"] for seed in seeds}) == 2


def test_the_seed_is_ejected_and_deleted_once_used(creation: Creation, fake: FakeProxmox, place: Any) -> None:
    creation.create(NAME, place("worker"))
    assert fake.guests[100].config["ide2"] == "none,media=cdrom"
    assert fake.images == {}


@pytest.mark.parametrize(
    ("drives", "used"),
    [
        ({}, "ide2"),
        ({"ide2": "local:iso/debian.iso,media=cdrom"}, "ide2"),
        ({"ide0": "none,media=cdrom"}, "ide0"),
        ({"ide0": "none,media=cdrom", "ide2": "local-lvm:vm-9000-cloudinit,media=cdrom"}, "ide2"),
    ],
    ids=["no drive", "a CD drive", "another CD drive", "Proxmox's own cloud-init drive first"],
)
def test_the_seed_takes_the_drive_that_leaves_one_cidata(
    creation: Creation, fake: FakeProxmox, place: Any, drives: dict[str, str], used: str
) -> None:
    fake.guests[9000].config |= drives
    creation.create(NAME, place("worker"))
    assert fake.guests[100].config[used] == "none,media=cdrom"


def test_no_disk_is_resized_that_is_large_enough(creation: Creation, fake: FakeProxmox, place: Any) -> None:
    fake.guests[9000].config["scsi0"] = "local-lvm:base-9000-disk-0,size=20480M"
    creation.create(NAME, place("worker"))
    assert fake.made("PUT") == []


def test_a_full_clone_goes_to_the_defined_storage(
    creation: Creation, fake: FakeProxmox, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = place("worker")
    specify = worker.specify
    monkeypatch.setattr(worker, "specify", lambda *given: replace(specify(*given), clone="full", pool="k8s"))
    creation.create(NAME, worker)
    assert fake.parameters("/clone$") == {
        "newid": "100",
        "name": NAME,
        "full": "1",
        "storage": "local-lvm",
        "pool": "k8s",
    }


def test_a_template_on_another_node_is_cloned_to_the_machine_s_node(
    creation: Creation, fake: FakeProxmox, place: Any
) -> None:
    fake.nodes["pve2"] = "online"
    fake.guests[9000].node = "pve2"
    creation.create(NAME, place("worker"))
    assert "POST nodes/pve2/qemu/9000/clone" in fake.made("POST")
    assert fake.parameters("/clone$")["target"] == "pve"
    assert fake.guests[100].node == "pve"


def test_a_template_of_the_machine_s_own_node_is_preferred(creation: Creation, fake: FakeProxmox, place: Any) -> None:
    fake.nodes["pve0"] = "online"
    fake.guests[8000] = Guest(dict(fake.guests[9000].config), node="pve0", template=True)
    creation.create(NAME, place("worker"))
    assert "POST nodes/pve/qemu/9000/clone" in fake.made("POST")


def test_tasks_are_waited_for(creation: Creation, fake: FakeProxmox, place: Any, pauses: Pauses) -> None:
    fake.polls_per_task = 3
    creation.create(NAME, place("worker"))
    assert all(task["effect"] is None for task in fake.tasks.values())
    assert len(pauses) == 3 * len(fake.tasks)


def test_a_task_with_warnings_is_a_success(creation: Creation, fake: FakeProxmox, place: Any) -> None:
    def warn() -> None:
        fake.on_start = None

    fake.before("status/start", warn)
    original = fake.task
    fake.task = lambda kind, status, effect: original(kind, status or "WARNINGS: 1", effect)  # type: ignore[method-assign]
    assert creation.create(NAME, place("worker")).new


# A machine that exists.


def test_a_machine_as_defined_is_left_alone(
    creation: Creation, fake: FakeProxmox, place: Any, defined_guest: Callable[..., Guest]
) -> None:
    fake.guests[100] = defined_guest()
    created = creation.create(NAME, place("worker"))
    assert (created.new, created.differences) == (False, {})
    assert fake.made("POST", "PUT", "DELETE") == []


def test_a_created_machine_is_as_defined(creation: Creation, fake: FakeProxmox, place: Any) -> None:
    creation.create(NAME, place("worker"))
    changes = len(fake.made("POST", "PUT", "DELETE"))
    again = creation.create(NAME, place("worker"))
    assert (again.new, again.differences) == (False, {})
    assert len(fake.made("POST", "PUT", "DELETE")) == changes


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"cores": 4}, {"cpus": ("4", "2")}),
        ({"sockets": 2}, {"cpus": ("4", "2")}),
        ({"memory": "8192"}, {"memory_mib": ("8192", "16384")}),
        ({"scsi0": "local-lvm:d,size=8G"}, {"disk_gib (scsi0)": ("8", "20")}),
        ({"net0": "virtio=BC:24:11:00:00:01,bridge=vmbr9"}, {"bridge": ("vmbr9", "vmbr0")}),
        ({"ipconfig0": "ip=dhcp"}, {"address": ("dhcp", "192.168.100.154/24"), "gateway": ("none", "192.168.100.1")}),
        ({"tags": "other"}, {"tags": ("other", "saltern;saw-k8s;worker")}),
        ({"onboot": 0}, {"onboot": ("0", "1")}),
        ({"agent": "0"}, {"agent": ("0", "1")}),
        ({"agent": "enabled=1,fstrim_cloned_disks=1"}, {}),
        ({"scsi0": "local-lvm:d,size=20480M"}, {}),
        ({"tags": "WORKER,saltern;saw-k8s"}, {}),
    ],
)
def test_a_machine_that_differs_is_named_and_not_changed(
    creation: Creation,
    fake: FakeProxmox,
    place: Any,
    defined_guest: Callable[..., Guest],
    change: dict[str, Any],
    difference: dict[str, tuple[str, str]],
) -> None:
    fake.guests[100] = defined_guest(**change)
    assert creation.create(NAME, place("worker")).differences == difference
    assert fake.made("POST", "PUT", "DELETE") == []


def test_two_machines_of_one_name_are_refused(
    creation: Creation, fake: FakeProxmox, place: Any, defined_guest: Callable[..., Guest]
) -> None:
    fake.guests |= {100: defined_guest(), 101: defined_guest()}
    with pytest.raises(RefusedError, match="100 on pve, 101 on pve"):
        creation.create(NAME, place("worker"))


def test_a_machine_may_be_on_a_node_that_is_offline(
    creation: Creation, fake: FakeProxmox, place: Any, defined_guest: Callable[..., Guest]
) -> None:
    fake.nodes["pve2"] = "offline"
    fake.guests[100] = defined_guest()
    fake.guests[100].node = "pve2"
    with pytest.raises(NodeOfflineError, match="100 on pve2"):
        creation.create(NAME, place("worker"))
    assert fake.made("POST") == []


# Retries.


@pytest.mark.parametrize(
    ("call", "step"),
    [
        ("qemu/9000/clone", LOCK_TIMEOUT),
        ("qemu/100/config", "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"),
        ("qemu/100/resize", "cfs-lock 'storage-x' error: got lock request timeout"),
        ("status/start", "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"),
        ("storage/local/upload", "can't lock file 'x' - got timeout"),
        ("DELETE .*content", "can't lock file 'x' - got timeout"),
    ],
)
@pytest.mark.parametrize("how", ["at once", "by the task"])
def test_a_lock_time_out_is_tried_again(
    creation: Creation, fake: FakeProxmox, place: Any, pauses: Pauses, call: str, step: str, how: str
) -> None:
    if how == "at once":
        fake.fail(call, 500, step, times=2)
    else:
        fake.fail_task(call, step, times=2)
    if "resize" in call and how == "by the task":
        fake.faults.clear()  # the fake's resize always succeeds
        fake.fail(call, 500, step, times=2)
    assert creation.create(NAME, place("worker")).new
    assert len([pause for pause in pauses if pause >= 0.5]) == 2
    assert len(fake.guests) == 2


@pytest.mark.parametrize("how", ["at once", "by the task"])
def test_a_number_taken_meanwhile_is_replaced_by_the_next(
    creation: Creation, fake: FakeProxmox, place: Any, how: str
) -> None:
    taken = "unable to create VM 100: config file already exists"
    somebody_else = Guest({"name": "somebody-else"}, running=True)
    fake.before("qemu/9000/clone", lambda: fake.guests.update({100: somebody_else}))
    if how == "by the task":
        fake.faults.clear()
        fake.fail_task("qemu/9000/clone", taken)
        original = fake.task

        def race(kind: str, status: str | None, effect: Any) -> str:
            fake.guests.setdefault(100, somebody_else)
            return original(kind, status, effect)

        fake.task = race  # type: ignore[method-assign]
    assert creation.create(NAME, place("worker")).machine.vmid == 101
    assert fake.guests[100] is somebody_else


def test_other_failures_are_final(creation: Creation, fake: FakeProxmox, place: Any, pauses: Pauses) -> None:
    fake.fail_task("qemu/9000/clone", "clone failed: some other reason")
    with pytest.raises(CreateFailedError, match="some other reason"):
        creation.create(NAME, place("worker"))
    assert len([call for call in fake.made("POST") if call.endswith("clone")]) == 1


def test_retries_end(creation: Creation, fake: FakeProxmox, place: Any) -> None:
    fake.fail_task("qemu/9000/clone", LOCK_TIMEOUT, times=100)
    with pytest.raises(CreateFailedError, match="parallel_clones") as failed:
        creation.create(NAME, place("worker"))
    assert isinstance(failed.value.cause, BusyError)
    assert 3 <= len([call for call in fake.made("POST") if call.endswith("clone")]) <= 10
    assert list(fake.guests) == [9000]


def test_a_number_given_away_is_nobody_s_business(creation: Creation, fake: FakeProxmox, place: Any) -> None:
    """Each number is another's clone by the time of the call: nameless yet, and not ours to look at."""

    def taken() -> None:
        fake.guests[int(fake.calls[-1][1]["newid"])] = Guest({"lock": "clone"})

    refusal = RefusalError(500, "unable to create VM: config file already exists")
    fake.faults.append(Fault("POST .*/clone", 100, refusal=refusal, effect=taken))
    with pytest.raises(CreateFailedError) as failed:
        creation.create(NAME, place("worker"))
    assert failed.value.outcome.left == []
    assert all(guest.config == {"lock": "clone"} for vmid, guest in fake.guests.items() if vmid != 9000)


# Failures at each step leave nothing.

STEPS = [
    ("GET cluster/nextid", 500, "got weird error", RefusedError),
    ("GET nodes/pve/qemu/9000/config", 500, "got weird error", RefusedError),
    ("POST .*/clone", 403, "Permission check failed (/vms/9000, VM.Clone)", PermissionDeniedError),
    ("POST .*/clone", 500, "unable to create VM 100: config file already exists", MachineIdTakenError),
    ("POST .*/upload", 500, "storage 'local' does not support 'iso' content", RefusedError),
    ("POST .*/config", 403, "Permission check failed (/vms/100, VM.Config.Network)", PermissionDeniedError),
    ("PUT .*/resize", 500, "not enough free space (2 < 3)", StorageFullError),
    ("POST .*/status/start", 500, "got weird error", RefusedError),
]
TASKS = [
    ("/clone", "clone failed: not enough free space (1 < 2)", StorageFullError),
    ("/upload", "No space left on device", StorageFullError),
    ("POST .*/config", "unable to apply", TaskFailedError),
    ("/status/start", "start failed: QEMU exited with code 1", TaskFailedError),
    ("content/local", "unlink failed", TaskFailedError),
]


def snapshot(fake: FakeProxmox) -> tuple[Any, ...]:
    return sorted(fake.guests), sorted(fake.images)


@pytest.mark.parametrize(("call", "status", "reason", "kind"), STEPS)
def test_a_refused_call_leaves_nothing_behind(
    creation: Creation,
    fake: FakeProxmox,
    place: Any,
    minions: FakeMinions,
    journal: Journal,
    call: str,
    status: int,
    reason: str,
    kind: type[Exception],
) -> None:
    fake.images["local:iso/debian.iso"] = b"not ours"
    before = snapshot(fake)
    fake.fail(call, status, reason, times=20)
    with pytest.raises(CreateFailedError) as failed:
        creation.create(NAME, place("worker"))
    assert isinstance(failed.value.cause, kind)
    assert reason in str(failed.value)
    assert failed.value.outcome.left == []
    assert snapshot(fake) == before
    assert minions.keys == {}
    assert journal.unfinished() == set()


@pytest.mark.parametrize(("call", "exit_status", "kind"), TASKS)
def test_a_failed_task_leaves_nothing_behind(
    creation: Creation,
    fake: FakeProxmox,
    place: Any,
    minions: FakeMinions,
    journal: Journal,
    call: str,
    exit_status: str,
    kind: type[Exception],
) -> None:
    before = snapshot(fake)
    fake.fail_task(call, exit_status, times=1)
    with pytest.raises(CreateFailedError) as failed:
        creation.create(NAME, place("worker"))
    assert isinstance(failed.value.cause, kind)
    assert exit_status in str(failed.value)
    assert snapshot(fake) == before
    assert minions.keys == {}
    assert journal.unfinished() == set()


def test_a_failed_task_shows_the_end_of_its_log(creation: Creation, fake: FakeProxmox, place: Any) -> None:
    fake.fail_task("/status/start", "start failed: QEMU exited with code 1")
    with pytest.raises(CreateFailedError, match="TASK ERROR: start failed: QEMU exited with code 1"):
        creation.create(NAME, place("worker"))


def test_a_minion_that_never_answers_is_named_and_its_machine_removed(
    creation: Creation, fake: FakeProxmox, place: Any, minions: FakeMinions
) -> None:
    minions.answers = False
    fake.agents[100] = ["192.168.100.99"]
    with pytest.raises(CreateFailedError) as failed:
        creation.create(NAME, place("worker"))
    assert isinstance(failed.value.cause, TimedOutError)
    text = str(failed.value)
    assert "saw-k8s-w-01 (100 on pve)" in text
    assert "guest agent reports 192.168.100.99" in text
    assert "reach 192.168.100.1 on ports 4505 and 4506" in text
    assert "Removed again: machine 100 on pve, seed image local:iso/saw-k8s-w-01-seed-" in text
    assert snapshot(fake) == ([9000], [])
    assert minions.keys == {}


def test_the_agent_can_be_what_proves_a_machine(
    creation: Creation, fake: FakeProxmox, place: Any, minions: FakeMinions
) -> None:
    minions.answers = False
    creation.order = replace(creation.order, answer="agent")
    fake.on_start = lambda vmid, guest: fake.agents.update({vmid: ["192.168.100.154"]})
    assert creation.create(NAME, place("worker")).new


def test_a_key_that_was_there_before_comes_back(
    creation: Creation, fake: FakeProxmox, place: Any, minions: FakeMinions
) -> None:
    minions.keys[NAME] = "KEY OF BEFORE\n"
    fake.fail("status/start", 500, "got weird error")
    with pytest.raises(CreateFailedError, match="the one before it is accepted again"):
        creation.create(NAME, place("worker"))
    assert minions.keys == {NAME: "KEY OF BEFORE\n"}


def test_an_interrupt_leaves_nothing_behind(
    creation: Creation, fake: FakeProxmox, place: Any, minions: FakeMinions, pauses: Pauses
) -> None:
    fake.polls_per_task = 1

    def interrupt(seconds: float) -> None:
        creation.api._pause = pauses
        raise KeyboardInterrupt

    def at_start(what: Any = None) -> None:
        creation.api._pause = interrupt

    fake.before("status/start", at_start)
    with pytest.raises(KeyboardInterrupt):
        creation.create(NAME, place("worker"))
    assert snapshot(fake) == ([9000], [])
    assert minions.keys == {}


def test_another_s_machine_of_the_same_number_is_not_touched(creation: Creation, fake: FakeProxmox, place: Any) -> None:
    somebody_else = Guest({"name": "somebody-else"}, running=True)

    def vanished() -> None:
        fake.guests[100] = somebody_else

    fake.before("POST .*/upload", vanished)
    fake.fail("POST .*/100/config", 500, "got weird error")
    with pytest.raises(CreateFailedError):
        creation.create(NAME, place("worker"))
    assert fake.guests[100] is somebody_else
    assert somebody_else.running


def test_an_upload_that_is_forbidden_leaves_nothing_to_look_for(
    creation: Creation, fake: FakeProxmox, place: Any, journal: Journal
) -> None:
    """The usual case: proxmox.iso_storage names a storage on which the user has no rights at all."""
    fake.fail("POST .*/upload", 403, "Permission check failed (/storage/local, Datastore.AllocateTemplate)")
    fake.fail("DELETE .*/content/", 403, "Permission check failed (/storage/local, Datastore.Allocate)", times=9)
    with pytest.raises(CreateFailedError, match=r"Datastore\.AllocateTemplate") as failed:
        creation.create(NAME, place("worker"))
    assert failed.value.outcome.left == []
    assert snapshot(fake) == ([9000], [])
    assert journal.unfinished() == set()


@pytest.mark.parametrize("made", [False, True])
def test_rights_on_a_pool_alone_tell_what_is_left(
    creation: Creation, fake: FakeProxmox, place: Any, journal: Journal, made: bool
) -> None:
    """A machine outside of the pool is forbidden, whether it is there or not."""
    fake.fail_task("/clone", "clone failed: not enough free space (1 < 2)")
    forbidden = RefusalError(403, "Permission check failed (/vms/100, VM.Audit)")
    there = {100: Guest({"name": NAME})} if made else {}
    fake.faults.append(Fault("GET .*/100/config", 9, refusal=forbidden, effect=lambda: fake.guests.update(there)))
    with pytest.raises(CreateFailedError, match="not enough free space") as failed:
        creation.create(NAME, place("worker"))
    assert [text.partition(":")[0] for text in failed.value.outcome.left] == (["machine 100 on pve"] if made else [])
    assert journal.unfinished() == ({NAME} if made else set())


def test_what_cannot_be_removed_is_named_and_removed_by_the_next_create(
    creation: Creation, fake: FakeProxmox, place: Any, journal: Journal, said: list[str]
) -> None:
    fake.fail("status/start", 500, "got weird error")
    fake.fail("status/stop", 500, "another weird error")
    with pytest.raises(CreateFailedError, match=r"LEFT BEHIND.*machine 100 on pve: .*another weird error"):
        creation.create(NAME, place("worker"))
    assert sorted(fake.guests) == [100, 9000]
    assert journal.unfinished() == {NAME}

    created = creation.create(NAME, place("worker"))
    assert created.new
    assert sorted(fake.guests) == [100, 9000]
    assert "saw-k8s-w-01: removing what an earlier create left unfinished" in said
    assert journal.unfinished() == set()


def test_a_create_that_was_killed_is_mended_by_the_next(
    creation: Creation, fake: FakeProxmox, place: Any, journal: Journal, minions: FakeMinions
) -> None:
    """The record of a create that got as far as its seed image, its process gone, its clone's task long forgotten."""
    fake.guests[100] = Guest({"name": NAME, "scsi0": "d,size=8G"}, running=True)
    volid = "local:iso/saw-k8s-w-01-seed-0123456789abcdef.iso"
    fake.images[volid] = b"seed"
    minions.keys[NAME] = "KEY OF THE DEAD\n"
    with journal.claim(NAME) as record:
        record.note(
            node="pve", vmid=100, upid="UPID:pve:1:1:1:qmstart:100:x:", seed_node="pve", seed_volid=volid, key=True
        )

    created = creation.create(NAME, place("worker"))
    assert created.new
    assert fake.images == {}
    assert minions.keys == {NAME: "PUBLIC KEY 1\n"}


def test_a_clone_that_still_runs_is_stopped_before_it_is_made_anew(
    creation: Creation, fake: FakeProxmox, place: Any, journal: Journal, api: Proxmox
) -> None:
    fake.polls_per_task = 1000
    upid = api.call("POST", "nodes/pve/qemu/9000/clone", newid=100, name=NAME, full=0)
    with journal.claim(NAME) as record:
        record.note(node="pve", vmid=100, upid=upid)
    fake.polls_per_task = 0
    assert creation.create(NAME, place("worker")).machine.vmid == 100
    assert sorted(fake.guests) == [100, 9000]
    assert [what for what, _ in fake.calls if what.startswith("DELETE") and what.endswith(upid)]


def test_a_task_of_other_credentials_is_waited_for(
    creation: Creation, fake: FakeProxmox, place: Any, journal: Journal, api: Proxmox
) -> None:
    fake.polls_per_task = 2
    upid = api.call("POST", "nodes/pve/qemu/9000/clone", newid=100, name=NAME, full=0)
    with journal.claim(NAME) as record:
        record.note(node="pve", vmid=100, upid=upid)
    fake.fail(f"DELETE .*{upid}", 403, "Permission check failed (/nodes/pve, Sys.Modify)")
    assert creation.create(NAME, place("worker")).new
    assert fake.tasks[upid]["status"] == "OK"
    assert len(fake.guests) == 2


@pytest.mark.parametrize("call", ["/clone", "/upload"])
def test_what_a_call_without_an_answer_brings_is_waited_for_and_removed(
    creation: Creation, fake: FakeProxmox, place: Any, journal: Journal, call: str
) -> None:
    fake.polls_per_task = 2
    fake.lose_answer(call)
    with pytest.raises(CreateFailedError, match="Connection timed out") as failed:
        creation.create(NAME, place("worker"))
    assert failed.value.outcome.left == []
    assert (sorted(fake.guests), fake.images, journal.unfinished()) == ([9000], {}, set())
    assert all(task["effect"] is None for task in fake.tasks.values())


def test_an_upload_that_takes_too_long_is_stopped_before_its_image_is_looked_for(
    creation: Creation, fake: FakeProxmox, place: Any, order: Order
) -> None:
    creation.order = replace(order, limits=replace(order.limits, task_s=0))
    fake.before("upload", lambda: setattr(fake, "polls_per_task", 5))
    with pytest.raises(CreateFailedError, match=r"imgcopy.* still runs"):
        creation.create(NAME, place("worker"))
    copied = next(upid for upid in fake.tasks if ":imgcopy:" in upid)
    assert fake.tasks[copied]["status"] == "interrupted by signal"
    assert fake.images == {}


def test_a_seed_that_somebody_else_removed_is_no_failure(
    creation: Creation, fake: FakeProxmox, place: Any
) -> None:
    fake.before("DELETE .*/content", fake.images.clear)
    assert creation.create(NAME, place("worker")).new


def test_one_machine_is_created_by_one_process_at_a_time(
    creation: Creation, fake: FakeProxmox, place: Any, journal: Journal
) -> None:
    creation.order = replace(creation.order, limits=Limits(answer_s=0, task_s=0.3))
    with journal.claim(NAME), pytest.raises(TimedOutError, match=f"Creating or destroying {NAME}"):
        creation.create(NAME, place("worker"))
    assert fake.made("POST") == []


def test_an_unknown_template_names_those_that_exist(creation: Creation, fake: FakeProxmox, place: Any) -> None:
    fake.guests[9000].config["name"] = "debian-13"
    with pytest.raises(CreateFailedError, match=r"debian-12-saltern.*it has: debian-13 \(9000 on pve\)") as failed:
        creation.create(NAME, place("worker"))
    assert isinstance(failed.value.cause, UnknownTemplateError)


def test_a_template_without_the_defined_disk_is_named(creation: Creation, fake: FakeProxmox, place: Any) -> None:
    fake.guests[9000].config["virtio0"] = fake.guests[9000].config.pop("scsi0")
    with pytest.raises(CreateFailedError, match=r"has no disk scsi0.*proxmox\.disk_device"):
        creation.create(NAME, place("worker"))
    assert sorted(fake.guests) == [9000]


def test_parallel_creates_share_the_slots_of_a_template(
    fake: FakeProxmox, provider: dict[str, Any], creation: Creation, place: Any, tmp_path: Path
) -> None:
    """Four creates, two slots: never three clones at once, and all four machines made."""
    fake.polls_per_task = 5
    names = [f"saw-k8s-w-0{index}" for index in range(1, 5)]
    failures: list[BaseException] = []

    def pause(seconds: float) -> None:
        time.sleep(seconds / 10)  # a real one: the four have to meet

    def create(name: str) -> None:
        api = Proxmox(provider_settings.read("p", provider), pause)
        try:
            Creation(
                api,
                creation.order,
                creation.minions,
                creation.journal,
                creation.slot_directory,
                lambda *said: None,
                pause,
            ).create(name, place("worker"))
        except CreateFailedError as err:
            failures.append(err)
        finally:
            api.close()

    threads = [threading.Thread(target=create, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(fake.by_name(name) for name in names)
    assert fake.most_clones <= 2
