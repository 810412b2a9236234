"""keeper.named: every control-plane node comes to the same answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from tests.unit.modules.member import Member

ROWS = ["saw-k8s-m-01", "saw-k8s-m-02", "saw-k8s-m-03"]


@pytest.fixture
def named_by(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What a node answers, with these nodes Ready."""

    def ask(name: str, ready: list[str], **unfinished: str) -> dict[str, Any]:
        node = Member(tmp_path / name)
        node.opts["id"] = name
        node.with_files()
        if unfinished:
            node.unfinished(unfinished["verb"])
        node.salt["kube.nodes"] = lambda: {row: {"ready": row in ready} for row in ROWS}
        answer: dict[str, Any] = node._load("_modules", "keeper").named()
        return answer

    return ask


@pytest.mark.parametrize(("ready", "keeper"), [(ROWS, ROWS[0]), (ROWS[1:], ROWS[1]), (ROWS[2:], ROWS[2])])
def test_it_is_the_first_that_is_ready_and_all_know(
    named_by: Callable[..., dict[str, Any]], ready: list[str], keeper: str
) -> None:
    answers = {name: named_by(name, ready) for name in ROWS}
    assert {answer["node"] for answer in answers.values()} == {keeper}
    assert [name for name, answer in answers.items() if answer["here"]] == [keeper]
    assert not any(answer["failure"] for answer in answers.values())


def test_when_none_is_ready_that_is_a_failure(named_by: Callable[..., dict[str, Any]]) -> None:
    answer = named_by(ROWS[0], [])
    assert (answer["node"], answer["failure"]) == (None, True)
    assert "none of saw-k8s-m-01, saw-k8s-m-02, saw-k8s-m-03 is Ready" in answer["reason"]


def test_half_a_member_keeps_nothing(named_by: Callable[..., dict[str, Any]]) -> None:
    answer = named_by(ROWS[0], ROWS, verb="join")
    assert answer == {"node": None, "here": False, "failure": False, "reason": "no member of a cluster yet"}


def test_an_api_that_does_not_answer_is_a_failure(tmp_path: Path) -> None:
    node = Member(tmp_path)
    node.with_files()

    def silent() -> None:
        raise CommandExecutionError("connection refused")

    node.salt["kube.nodes"] = silent
    answer = node._load("_modules", "keeper").named()
    assert (answer["node"], answer["failure"]) == (None, True)
    told = node.state("keeper").told("What the API holds has a keeper", answer)
    assert (told["result"], told["changes"]) == (False, {})
    assert "apply again once it does (connection refused)" in told["comment"]
