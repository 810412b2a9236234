"""Taking machines away, locks between processes, and the journal that tells a running create from a dead one."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from saltern.proxmox import inventory, locks, remove
from saltern.proxmox.api import Proxmox
from saltern.proxmox.errors import RefusedError, TaskFailedError, TimedOutError
from saltern.proxmox.inventory import Machine
from saltern.proxmox.journal import Journal
from tests.unit.clouds.fake_proxmox import FakeProxmox, Guest

SEED = "local:iso/saw-k8s-w-01-seed-0123456789abcdef.iso"


@pytest.fixture
def found(fake: FakeProxmox, api: Proxmox, defined_guest: Callable[..., Guest]) -> Machine:
    fake.guests[100] = defined_guest()
    machine = inventory.read(api).find("saw-k8s-w-01")
    assert machine
    return machine


def test_a_machine_is_stopped_and_purged(api: Proxmox, fake: FakeProxmox, found: Machine) -> None:
    assert remove.machine_and_seed(api, found) == ["machine 100 on pve"]
    assert fake.made("POST", "DELETE") == ["POST nodes/pve/qemu/100/status/stop", "DELETE nodes/pve/qemu/100"]
    assert fake.parameters("^DELETE") == {"purge": "1", "destroy-unreferenced-disks": "1"}
    assert 100 not in fake.guests


def test_its_own_seed_goes_too_and_other_images_stay(api: Proxmox, fake: FakeProxmox, found: Machine) -> None:
    others = {"local:iso/debian.iso": b"", "local:iso/saw-k8s-w-02-seed-0123456789abcdef.iso": b""}
    fake.images = {SEED: b"", **others}
    fake.guests[100].config |= {"ide2": f"{SEED},media=cdrom,size=1M", "ide0": "local:iso/debian.iso,media=cdrom"}
    assert remove.machine_and_seed(api, found) == ["machine 100 on pve", f"seed image {SEED}"]
    assert fake.images == others


def test_a_template_is_not_destroyed(api: Proxmox, fake: FakeProxmox) -> None:
    (template,) = inventory.read(api).templates
    with pytest.raises(RefusedError, match="it is a template"):
        remove.machine_and_seed(api, template)
    assert fake.made("POST", "DELETE") == []


def test_a_machine_that_does_not_stop_is_not_deleted(api: Proxmox, fake: FakeProxmox, found: Machine) -> None:
    fake.fail_task("status/stop", "VM quit/powerdown failed")
    with pytest.raises(TaskFailedError):
        remove.machine_and_seed(api, found)
    assert 100 in fake.guests


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
