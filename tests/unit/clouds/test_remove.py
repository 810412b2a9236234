"""Taking machines away, locks between processes, and the journal that tells a running create from a dead one."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from saltern.proxmox import inventory, locks, remove
from saltern.proxmox.api import Proxmox
from saltern.proxmox.errors import (
    LeftDiskError,
    NodeOfflineError,
    NotFoundError,
    RefusedError,
    TaskFailedError,
    TimedOutError,
)
from saltern.proxmox.inventory import Machine
from saltern.proxmox.journal import Journal, Record
from tests.unit.clouds.fake_proxmox import FakeProxmox, Guest

SEED = "local:iso/saw-k8s-w-01-seed-0123456789abcdef.iso"


@pytest.fixture
def found(fake: FakeProxmox, api: Proxmox, defined_guest: Callable[..., Guest]) -> Machine:
    fake.guests[100] = defined_guest()
    machine = inventory.read(api).find("saw-k8s-w-01")
    assert machine
    return machine


@pytest.fixture
def record(journal: Journal) -> Iterator[Record]:
    with journal.claim("saw-k8s-w-01") as claimed:
        yield claimed


def test_a_machine_is_stopped_and_purged(api: Proxmox, fake: FakeProxmox, found: Machine, record: Record) -> None:
    assert remove.machine_and_seed(api, found, record) == ["machine 100 on pve"]
    assert fake.made("POST", "DELETE") == ["POST nodes/pve/qemu/100/status/stop", "DELETE nodes/pve/qemu/100"]
    assert fake.parameters("^DELETE") == {"purge": "1", "destroy-unreferenced-disks": "1"}
    assert 100 not in fake.guests


def test_its_own_seed_goes_too_and_other_images_stay(
    api: Proxmox, fake: FakeProxmox, found: Machine, record: Record
) -> None:
    others = {"local:iso/debian.iso": b"", "local:iso/saw-k8s-w-02-seed-0123456789abcdef.iso": b""}
    fake.images = {SEED: b"", **others}
    fake.guests[100].config |= {"ide2": f"{SEED},media=cdrom,size=1M", "ide0": "local:iso/debian.iso,media=cdrom"}
    assert remove.machine_and_seed(api, found, record) == ["machine 100 on pve", f"seed image {SEED}"]
    assert fake.images == others


def test_a_template_is_not_destroyed(api: Proxmox, fake: FakeProxmox, record: Record) -> None:
    (template,) = inventory.read(api).templates
    with pytest.raises(RefusedError, match="it is a template"):
        remove.machine_and_seed(api, template, record)
    assert fake.made("POST", "DELETE") == []


def test_a_machine_that_does_not_stop_is_not_deleted(
    api: Proxmox, fake: FakeProxmox, found: Machine, record: Record
) -> None:
    fake.fail_task("status/stop", "VM quit/powerdown failed")
    with pytest.raises(TaskFailedError):
        remove.machine_and_seed(api, found, record)
    assert 100 in fake.guests


def test_the_seed_goes_before_its_machine_whose_drive_names_it(
    api: Proxmox, fake: FakeProxmox, found: Machine, record: Record
) -> None:
    fake.images = {SEED: b""}
    fake.guests[100].config["ide2"] = f"{SEED},media=cdrom,size=1M"
    fake.fail_task("DELETE .*/content", "imgdel failed")
    with pytest.raises(TaskFailedError):
        remove.machine_and_seed(api, found, record)
    assert 100 in fake.guests
    remove.machine_and_seed(api, found, record)
    assert (fake.images, 100 in fake.guests) == ({}, False)


@pytest.mark.parametrize("call", ["status/stop", "DELETE nodes/pve/qemu/100"])
def test_a_machine_that_somebody_else_removed_is_removed(
    api: Proxmox, fake: FakeProxmox, found: Machine, call: str, record: Record
) -> None:
    fake.before(call, lambda: fake.guests.pop(100) and None)
    assert remove.machine_and_seed(api, found, record) == ["machine 100 on pve"]


def test_a_machine_that_is_there_is_not_taken_for_gone(
    api: Proxmox, fake: FakeProxmox, found: Machine, record: Record
) -> None:
    fake.fail_task("DELETE nodes/pve/qemu/100", "storage 'local-lvm' does not exist")
    with pytest.raises(NotFoundError):
        remove.machine_and_seed(api, found, record)


def test_a_machine_that_moved_is_not_taken_for_gone(
    api: Proxmox, fake: FakeProxmox, found: Machine, record: Record
) -> None:
    def moved() -> None:
        fake.guests[100].node = "pve2"

    fake.nodes["pve2"] = "online"
    fake.before("status/stop", moved)
    with pytest.raises(NotFoundError):
        remove.machine_and_seed(api, found, record)


DISK = "local-lvm:vm-100-disk-0"
LOCKED = "can't lock file '/var/lock/pve-manager/pve-storage-local-lvm' - got timeout"


@pytest.mark.parametrize("linked", [DISK, "ceph:base-9000-disk-0/vm-100-disk-0", "local:100/vm-100-disk-0.qcow2"])
def test_a_disk_that_the_destroy_left_is_removed_and_told(
    api: Proxmox, fake: FakeProxmox, found: Machine, record: Record, linked: str
) -> None:
    fake.guests[100].config |= {"scsi0": f"{linked},size=20G", "efidisk0": "local-lvm:base-9000-disk-1,size=4M"}
    fake.disks = {"local-lvm:vm-1000-disk-0", "local-lvm:base-9000-disk-1"}
    fake.leave_disk(linked, LOCKED)
    told = remove.machine_and_seed(api, found, record)
    assert told == ["machine 100 on pve", f"disk {linked}, which Proxmox had left ({LOCKED})"]
    assert fake.disks == {"local-lvm:vm-1000-disk-0", "local-lvm:base-9000-disk-1"}
    assert not record.begun


def test_a_disk_that_only_the_log_names_is_removed(
    api: Proxmox, fake: FakeProxmox, found: Machine, record: Record
) -> None:
    fake.leave_disk("local-lvm:vm-100-state-before", LOCKED)
    remove.machine_and_seed(api, found, record)
    assert fake.disks == set()


def test_a_disk_that_went_at_the_second_try_is_not_looked_for_twice(
    api: Proxmox, fake: FakeProxmox, found: Machine, record: Record
) -> None:
    fake.leave_disk(DISK, LOCKED, still_there=False)
    assert remove.machine_and_seed(api, found, record) == ["machine 100 on pve"]
    assert len(fake.made("DELETE")) == 1


def test_without_the_log_the_machine_s_own_disks_are_looked_for(
    api: Proxmox, fake: FakeProxmox, found: Machine, record: Record
) -> None:
    fake.leave_disk(DISK, LOCKED)
    fake.fail("/log$", 596, "Connection timed out")
    told = remove.machine_and_seed(api, found, record)
    assert told == ["machine 100 on pve", f"disk {DISK}, which Proxmox had left"]
    assert fake.disks == set()


def test_a_disk_that_cannot_be_removed_stays_noted_and_is_removed_by_the_next_command(
    api: Proxmox, fake: FakeProxmox, found: Machine, record: Record
) -> None:
    fake.leave_disk(DISK, LOCKED)
    fake.fail(r"DELETE .*/content/", 403, "Permission check failed (/storage/local-lvm, Datastore.Allocate)")
    with pytest.raises(LeftDiskError) as left:
        remove.machine_and_seed(api, found, record)
    assert str(left.value) == (
        f"Removing disk {DISK}, which Proxmox had left ({LOCKED}): 403 Permission check failed (/storage/local-lvm, "
        f"Datastore.Allocate). On the Proxmox node pve: pvesm free {DISK}. Then run the same command again."
    )
    assert record.begun and record.disks == {DISK: LOCKED}
    assert remove.made(api, record, Keys()).removed == [f"disk {DISK}, which Proxmox had left ({LOCKED})"]
    assert (fake.disks, record.begun) == (set(), False)


def test_a_storage_that_cannot_be_asked_is_told_with_the_disk(
    api: Proxmox, fake: FakeProxmox, found: Machine, record: Record
) -> None:
    fake.fail("GET .*/content", 500, "storage 'local-lvm' is not online")
    with pytest.raises(LeftDiskError, match=f"Looking for disk {DISK} of a destroyed machine: 500 storage .* not onl"):
        remove.machine_and_seed(api, found, record)
    assert record.disks == {DISK: ""}


def test_a_disk_of_the_machine_that_has_the_number_now_is_not_touched(
    api: Proxmox, fake: FakeProxmox, record: Record
) -> None:
    fake.guests[100] = Guest({"name": "stranger", "scsi0": f"{DISK},size=8G"})
    fake.disks = {DISK, "local-lvm:vm-100-disk-1"}
    record.note(disks={DISK: "", "local-lvm:vm-100-disk-1": ""}, disk_node="pve")
    outcome = remove.made(api, record, Keys())
    assert outcome.removed == ["disk local-lvm:vm-100-disk-1, which Proxmox had left"]
    assert (fake.disks, record.begun) == ({DISK}, False)


def test_a_disk_is_not_touched_while_nobody_can_tell_whose_it_is(
    api: Proxmox, fake: FakeProxmox, record: Record
) -> None:
    fake.guests[100] = Guest({"lock": "clone"})
    fake.disks = {DISK}
    record.note(disks={DISK: ""}, disk_node="pve")
    (left,) = remove.made(api, record, Keys()).left
    assert "its number 100 is another machine's by now, which is locked (clone)" in left
    assert (fake.disks, record.disks) == ({DISK}, {DISK: ""})


def test_what_a_failed_create_made_goes_with_a_disk_that_its_destroy_left(
    api: Proxmox, fake: FakeProxmox, found: Machine, record: Record
) -> None:
    fake.leave_disk(DISK, LOCKED)
    record.note(node="pve", vmid=100)
    removed = remove.made(api, record, Keys()).removed
    assert removed == ["machine 100 on pve", f"disk {DISK}, which Proxmox had left ({LOCKED})"]
    assert (fake.disks, record.begun) == (set(), False)


def test_a_destroy_that_is_refused_leaves_no_record_of_a_machine_that_is_well(
    api: Proxmox, fake: FakeProxmox, found: Machine, record: Record
) -> None:
    fake.fail("DELETE nodes/pve/qemu/100", 500, "can't remove VM 100 - protection mode enabled")
    with pytest.raises(RefusedError):
        remove.machine_and_seed(api, found, record)
    assert not record.begun


def test_a_destroy_whose_answer_is_lost_keeps_the_disks_in_mind(
    api: Proxmox, fake: FakeProxmox, found: Machine, record: Record
) -> None:
    fake.fail("DELETE nodes/pve/qemu/100", 596, "Connection timed out")
    with pytest.raises(NodeOfflineError):
        remove.machine_and_seed(api, found, record)
    assert record.disks == {DISK: ""}


class Keys:
    """No keys."""

    def accept(self, name: str, public_key: str) -> None:
        raise AssertionError

    def forget(self, name: str) -> None:
        raise AssertionError


def test_a_clone_gets_its_name_at_its_end_which_is_waited_for(
    api: Proxmox, fake: FakeProxmox, journal: Journal
) -> None:
    fake.guests[100] = Guest({"lock": "clone"})

    def named(_seconds: float) -> None:
        fake.guests[100].config = {"name": "w"}

    with journal.claim("w") as record:
        record.note(node="pve", vmid=100)
        assert remove.made(api, record, Keys(), named).removed == ["machine 100 on pve"]
    assert 100 not in fake.guests


def test_a_clone_that_never_gets_a_name_is_left_and_said(
    api: Proxmox, fake: FakeProxmox, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remove, "_REMOVAL_S", 0.0)
    fake.guests[100] = Guest({"lock": "clone"})
    with journal.claim("w") as record:
        record.note(node="pve", vmid=100)
        (left,) = remove.made(api, record, Keys()).left
    assert "the machine still has no name" in left and "qm destroy 100" in left
    assert journal.unfinished() == {"w"}


def test_a_clone_is_found_on_the_node_that_it_is_on(api: Proxmox, fake: FakeProxmox, journal: Journal) -> None:
    fake.nodes["pve2"] = "online"
    fake.guests[100] = Guest({"name": "w"}, node="pve")
    with journal.claim("w") as record:
        record.note(node="pve2", vmid=100)
        assert remove.made(api, record, Keys()).removed == ["machine 100 on pve"]


def test_an_image_that_may_still_come_stays_noted(api: Proxmox, fake: FakeProxmox, journal: Journal) -> None:
    upid = "UPID:pve:00000000:00000001:65000000:imgcopy::saltern@pve:"
    fake.fail("/tasks/", 595, "No route to host")
    with journal.claim("w") as record:
        record.note(node="pve", seed_node="pve", seed_volid=SEED, upid=upid)
        assert remove.made(api, record, Keys()).left
        fake.images[SEED] = b"a private key"
        assert remove.made(api, record, Keys()).removed == [f"seed image {SEED}"]
    assert (fake.images, journal.unfinished()) == ({}, set())


HOLD = "import sys, time; from saltern.proxmox import locks; from pathlib import Path\n" + (
    "with locks.one_of([Path(sys.argv[1])], 0, 'x'):\n    print('held', flush=True); sys.stdin.read()"
)


def test_a_lock_is_held_between_processes_and_freed_by_death(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    assert locks.is_held(path)
    with pytest.raises(TimedOutError, match=f"Cloning: still in use.*{path}"), locks.one_of([path], 0, "Cloning"):
        pass
    holder.kill()
    holder.communicate()
    assert not locks.is_held(path)
    with locks.one_of([path], 0, "Cloning"):
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_first_free_slot_is_taken(tmp_path: Path) -> None:
    slots = locks.slots(tmp_path, "clone-pve-9000", 2)
    with locks.one_of(slots, 0, "x") as first, locks.one_of(slots, 0, "x") as second:
        assert [first, second] == slots
        with pytest.raises(TimedOutError), locks.one_of(slots, 0, "x"):
            pass


def test_a_slot_is_waited_for(tmp_path: Path) -> None:
    (slot,) = locks.slots(tmp_path, "x", 1)
    holder = locks.one_of([slot], 0, "x")
    holder.__enter__()
    with locks.one_of([slot], 60, "x", pause=lambda _s: holder.__exit__(None, None, None) and None) as got:
        assert got == slot


def test_a_record_is_private_and_closed_without_a_trace(journal: Journal, tmp_path: Path) -> None:
    with journal.claim("w") as record:
        record.note(vmid=100, node="pve")
        path = record.path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert journal.unfinished() == set()
    assert journal.unfinished() == {"w"}
    with journal.claim("w") as again:
        assert (again.vmid, again.node, again.made_anything) == (100, "pve", True)
        again.close()
    assert not path.exists()
    assert journal.unfinished() == set()


def test_addresses_of_records_are_taken(journal: Journal) -> None:
    with journal.claim("w") as record:
        record.note(address="192.168.100.160")
        assert journal.addresses() == {"192.168.100.160"}
