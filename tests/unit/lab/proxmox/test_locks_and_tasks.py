"""Locks that time out, and tasks."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.proxmox.access import Identity
from lab.proxmox.errors import ApiError, ProxmoxError
from lab.proxmox.locks import Locks
from lab.proxmox.machines import MachineError
from lab.proxmox.store import Store
from lab.proxmox.tasks import Injected, Task, Tasks

WHO = Identity("saltern@pve", "salt")


def test_readers_share_and_a_writer_waits_for_them() -> None:
    locks = Locks(storage_slots=1)
    with locks.guest(100, 0, shared=True), locks.guest(100, 0, shared=True):
        with pytest.raises(ProxmoxError) as caught:
            locks.acquire_guest(100, 0)
        assert str(caught.value) == "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"
        locks.acquire_guest(101, 0).release()
    writer = locks.acquire_guest(100, 0)
    with pytest.raises(ProxmoxError):
        locks.acquire_guest(100, 0, shared=True)
    writer.release()
    locks.acquire_guest(100, 0, shared=True).release()


def test_lock_can_be_given_back_by_another_thread() -> None:
    locks = Locks(storage_slots=1)
    lock = locks.acquire_guest(100, 0)
    giver = threading.Thread(target=lock.release)
    giver.start()
    locks.acquire_guest(100, 5).release()
    giver.join()


def test_storage_does_so_many_allocations_at_once() -> None:
    locks = Locks(storage_slots=2)
    with contextlib.ExitStack() as held:
        for name in ("a", "a", "b"):
            held.enter_context(locks.storage(name, False, 0))
        with pytest.raises(ProxmoxError) as caught:
            held.enter_context(locks.storage("a", False, 0))
        assert str(caught.value) == "can't lock file '/var/lock/pve-manager/pve-storage-a' - got timeout"
    with locks.storage("a", False, 0):
        pass


@pytest.fixture
def tasks(tmp_path: Path) -> Tasks:
    return Tasks(Store(tmp_path), lambda: 1_700_000_000.5)


def end(tasks: Tasks, upid: str) -> Task:
    task = tasks.get(upid)
    assert task.ended.wait(10)
    return task


def failing(error: Exception) -> Callable[[Task], None]:
    def work(_task: Task) -> None:
        raise error

    return work


def test_upid_and_status(tasks: Tasks) -> None:
    upid = tasks.start("pve", "qmstart", "101", WHO, lambda task: task.say("hello"))
    task = end(tasks, upid)
    assert upid == f"UPID:pve:{task.pid:08X}:{task.pstart:08X}:6553F100:qmstart:101:saltern@pve!salt:"
    assert task.status() == {
        "upid": upid,
        "node": "pve",
        "pid": task.pid,
        "pstart": task.pstart,
        "starttime": 1_700_000_000,
        "type": "qmstart",
        "id": "101",
        "user": "saltern@pve",
        "tokenid": "salt",
        "status": "stopped",
        "exitstatus": "OK",
    }
    assert task.log == ["hello", "TASK OK"]


@pytest.mark.parametrize("error", [ProxmoxError("no\n"), MachineError("no"), ApiError(403, "no")])
def test_errors_become_the_exit_status(tasks: Tasks, error: Exception) -> None:
    task = end(tasks, tasks.start("pve", "qmstart", "101", WHO, failing(error)))
    assert (task.exitstatus, task.log[-1], task.failed) == ("no", "TASK ERROR: no", True)


def test_defect_does_not_leave_a_task_running(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    task = end(tasks, tasks.start("pve", "qmstart", "101", WHO, failing(KeyError("x"))))
    tasks.wait_all(10)
    assert task.exitstatus == "unexpected status"
    assert [each.exc_type for each in seen] == [KeyError], "and the defect is told"


def test_warnings_are_a_success(tasks: Tasks) -> None:
    task = end(tasks, tasks.start("pve", "qmstart", "101", WHO, lambda task: task.warn("careful")))
    assert (task.exitstatus, task.failed) == ("WARNINGS: 1", False)


def test_running_task_has_no_exit_status_and_can_be_aborted(tasks: Tasks) -> None:
    task = tasks.get(tasks.start("pve", "qmstart", "101", WHO, lambda task: task.pace(60)))
    assert task.status()["status"] == "running" and "exitstatus" not in task.status()
    assert "endtime" not in task.listed()
    task.cancelled.set()
    assert task.ended.wait(10) and task.exitstatus == "interrupted by signal"


@pytest.mark.parametrize(
    ("after_work", "lines"), [(False, ["TASK ERROR: broken"]), (True, ["did it", "TASK ERROR: broken"])]
)
def test_injected_failure(tasks: Tasks, after_work: bool, lines: list[str]) -> None:
    injected = Injected("broken", after_work)
    task = end(tasks, tasks.start("pve", "qmstart", "101", WHO, lambda task: task.say("did it"), injected))
    assert task.log == lines


def test_tasks_of_a_former_process(tmp_path: Path) -> None:
    first = Tasks(Store(tmp_path), lambda: 1_700_000_000.5)
    done = first.start("pve", "qmstart", "101", WHO, lambda _task: None)
    end(first, done)
    gate = threading.Event()
    lost = first.start("pve", "qmclone", "9000", WHO, lambda task: task.say(str(gate.wait(10))))
    second = Tasks(Store(tmp_path), lambda: 1_700_000_009.0)
    second.fail_lost()
    assert (second.get(done).exitstatus, second.get(lost).exitstatus) == ("OK", "unexpected status")
    assert second.get(lost).endtime == 1_700_000_009
    new = second.get(second.start("pve", "qmstart", "1", WHO, lambda _task: None))
    assert new.pid > second.get(lost).pid
    gate.set()
    first.wait_all(10)


def test_unknown_and_malformed_upids(tasks: Tasks) -> None:
    unknown = "UPID:pve:000003E9:00000001:65000000:qmstart:101:root@pam:"
    for upid, text in (("UPID:x", "unable to parse worker upid 'UPID:x'"), (unknown, "no such task")):
        with pytest.raises(ApiError) as caught:
            tasks.get(upid)
        assert caught.value.errors == {"upid": text}
