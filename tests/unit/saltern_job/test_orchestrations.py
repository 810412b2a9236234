"""The orchestrations as files: each stage exists, fails hard, and the bring-up waits for every stage of the plan."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

from saltern.plan import ORDER

CHECKOUT = Path(__file__).parents[3]
FILES = sorted((CHECKOUT / "orchestrate").rglob("*.sls"))


def states(path: Path) -> dict[str, tuple[str, list[dict]]]:
    """State ID -> (function, arguments) of an SLS without its includes."""
    data = yaml.safe_load(path.read_text())
    data.pop("include", None)
    return {title: next(iter(body.items())) for title, body in data.items()}


def parameters() -> dict[str, set[str]]:
    """Public functions of the state module -> names of their parameters."""
    tree = ast.parse((CHECKOUT / "_states" / "stage.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    return {f"stage.{function.name}": {arg.arg for arg in function.args.args} for function in functions}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_stage_exists_and_fails_hard(path):
    known = parameters()
    for title, (function, arguments) in states(path).items():
        given = {key for argument in arguments for key in argument}
        assert function in known, f"{path.name}: {title}"
        assert "failhard" in given and given - {"failhard"} <= known[function], f"{path.name}: {title}"


def test_the_bring_up_waits_for_every_stage_of_the_plan_in_its_order():
    called = [
        argument["stage"]
        for function, arguments in states(CHECKOUT / "orchestrate" / "stages" / "brought_up.sls").values()
        if function == "stage.reached"
        for argument in arguments
        if "stage" in argument
    ]
    assert set(called) == {stage for stage, _ in ORDER.values()}
    assert len(called) == len(set(called))


def test_no_step_waits_for_one_of_a_stage_that_comes_later():
    order = ["prepared", "initialised", "joined", "announced", "ready", "serving"]
    for key, (stage, before) in ORDER.items():
        for earlier in before:
            assert order.index(ORDER[earlier][0]) <= order.index(stage), f"{key} waits for {earlier}"
