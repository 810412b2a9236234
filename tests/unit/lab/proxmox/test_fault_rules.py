"""Rules for failures on purpose."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lab.proxmox.faults import Effect, Faults, FaultsError


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
    ("rule", "text"),
    [
        ({"path": "(", "effect": {}}, "faults.json"),
        ({"path": ".*", "effect": {"boom": 1}}, "unknown key boom in the rule for .*"),
        ({"path": ".*", "when": 1, "effect": {}}, "unknown key when"),
        ({"path": ".*"}, "effect"),
    ],
)
def test_broken_rules(tmp_path: Path, rule: dict[str, Any], text: str) -> None:
    with pytest.raises(FaultsError) as caught:
        faults(tmp_path, {"rules": [rule]}).effect("GET", "/x")
    assert text in str(caught.value)
