"""Rules for failures on purpose."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lab.proxmox.faults import Effect, Faults, FaultsError
from lab.proxmox.tasks import Injected


def faults(tmp_path: Path, data: dict[str, Any]) -> Faults:
    path = tmp_path / "faults.json"
    path.write_text(json.dumps(data))
    return Faults(path)


def test_without_a_file_nothing_happens(tmp_path: Path) -> None:
    assert Faults(tmp_path / "faults.json").effect("GET", "/version") == Effect()


def test_method_path_and_number_of_the_call(tmp_path: Path) -> None:
    rule = {"method": "POST", "path": "/nodes/[^/]+/qemu/.*", "calls": [2], "effect": {"task_failure": "no"}}
    made = faults(tmp_path, {"rules": [rule]})
    calls = [("GET", "/nodes/a/qemu/1"), ("POST", "/nodes/a/qemu/1"), ("POST", "/nodes"), ("POST", "/nodes/a/qemu/2")]
    assert [made.effect(*call).task is not None for call in calls] == [False, False, False, True]


def test_first_rule_decides_each_part(tmp_path: Path) -> None:
    made = faults(
        tmp_path,
        {
            "rules": [
                {"path": ".*", "effect": {"delay_s": 0.5}},
                {"path": ".*", "effect": {"delay_s": 9, "task_failure": "no", "after_work": True}},
            ]
        },
    )
    effect = made.effect("POST", "/x")
    assert effect.delay_s == 0.5
    assert effect.task and (effect.task.text, effect.task.after_work) == ("no", True)


def test_counts_begin_anew_when_the_file_changes(tmp_path: Path) -> None:
    data = {"rules": [{"path": ".*", "calls": [1], "effect": {"status": 500, "reason": "down"}}]}
    made = faults(tmp_path, data)
    assert [made.effect("GET", "/x").answer is not None for _ in range(2)] == [True, False]
    made.path.write_text(json.dumps(data))
    os.utime(made.path, ns=(1, 1))
    assert made.effect("GET", "/x").answer is not None


def test_lock_timeouts_name_what_the_call_is_about(tmp_path: Path) -> None:
    made = faults(tmp_path, {"rules": [{"path": ".*", "effect": {"lock_timeout": "guest"}}]})
    answer = made.effect("POST", "/nodes/pve/qemu/101/config").answer
    assert answer and answer.reason == "can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/nodes/pve/qemu/101/status/start", "can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout"),
        ("/nodes/pve/qemu/101", "can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout"),
    ],
)
def test_a_guest_lock_fails_in_the_task_of_all_other_calls(tmp_path: Path, path: str, text: str) -> None:
    effect = faults(tmp_path, {"rules": [{"path": ".*", "effect": {"lock_timeout": "guest"}}]}).effect("POST", path)
    assert effect.answer is None
    assert effect.task and effect.task.text == text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/nodes/pve/qemu/9000/clone", "clone failed: can't lock file '/var/lock/pve-manager/pve-storage-local-lvm'"),
        ("/nodes/pve/storage/local/content/x.iso", "can't lock file '/var/lock/pve-manager/pve-storage-local'"),
    ],
)
def test_a_storage_lock_names_the_storage(tmp_path: Path, path: str, text: str) -> None:
    effect = faults(tmp_path, {"rules": [{"path": ".*", "effect": {"lock_timeout": "storage"}}]}).effect("DELETE", path)
    assert effect.task and effect.task.text == f"{text} - got timeout"


def test_an_answer_that_is_lost_is_told_from_one_instead_of_the_work(tmp_path: Path) -> None:
    lost = {"status": 596, "reason": "Connection timed out"}
    rows = [{"path": "/a", "effect": lost | {"after_work": True}}, {"path": "/b", "effect": lost}]
    made = faults(tmp_path, {"rules": rows})
    found = [made.effect("POST", path) for path in ("/a", "/b")]
    assert [(effect.lost, effect.answer is not None) for effect in found] == [(True, True), (False, True)]


def test_a_slow_task_need_not_fail(tmp_path: Path) -> None:
    made = faults(tmp_path, {"rules": [{"path": ".*", "effect": {"task_delay_s": 1.5}}]})
    assert made.effect("POST", "/x").task == Injected(None, False, 1.5)


def test_a_task_that_warns_need_not_fail(tmp_path: Path) -> None:
    made = faults(tmp_path, {"rules": [{"path": ".*", "effect": {"task_warning": "no CPU flag"}}]})
    assert made.effect("POST", "/x").task == Injected(warning="no CPU flag")


def test_full_storages_are_known_until_the_file_says_otherwise(tmp_path: Path) -> None:
    made = faults(tmp_path, {"full_storages": ["local"]})
    made.effect("GET", "/x")
    assert made.full_storages == {"local"}
    made.path.unlink()
    made.effect("GET", "/x")
    assert made.full_storages == frozenset()


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({"path": "(", "effect": {}}, "faults.json"),
        ({"path": ".*", "effect": {"boom": 1}}, "unknown key boom in the rule for .*"),
        ({"path": ".*", "when": 1, "effect": {}}, "unknown key when"),
        ({"path": ".*"}, "effect"),
        ({"path": ".*", "effect": {"lock_timeout": "cluster"}}, "lock_timeout is 'cluster'"),
        ({"path": ".*", "effect": {"number_taken": True}}, "call or task"),
        ({"path": ".*", "effect": {"disks_left": True}}, "OK or warnings"),
    ],
)
def test_broken_rules(tmp_path: Path, rule: dict[str, Any], text: str) -> None:
    with pytest.raises(FaultsError) as caught:
        faults(tmp_path, {"rules": [rule]}).effect("GET", "/x")
    assert text in str(caught.value)
