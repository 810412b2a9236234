"""The codes of failures: none is told without one, and none leads nowhere or is never told."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from saltern import record, run, runbooks
from saltern.findings import DefinitionError, Finding
from saltern.plan import PlanError
from saltern.steps import Problem
from tests.salt_node import CHECKOUT

# Where failures are made that a run reports.
PRODUCT = ("saltern", "_modules", "_states", "_runners", "_clouds", "_utils")
SOURCES = sorted(path for folder in PRODUCT for path in (CHECKOUT / folder).rglob("*.py"))
# Problems of a definition are another class, whose codes come with their rules.
OF_DEFINITION = "saltern.problems"


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in SOURCES:
        yield path.relative_to(CHECKOUT), ast.parse(path.read_text())


def imports(tree: ast.Module, name: str) -> str | None:
    """The module from which a name is imported, None when it is not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return node.module
    return None


def made(tree: ast.Module, name: str) -> Iterator[ast.Call]:
    """Each place that makes a thing of a class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node


def code_of(call: ast.Call, position: int | None) -> ast.expr | None:
    """The code that a call gives: by its name, or by its position; None for none."""
    named = [word.value for word in call.keywords if word.arg == "code"]
    placed = call.args[position : position + 1] if position is not None else []
    return next(iter(named + placed), None)


def wrong(expression: ast.expr | None, path: Path) -> bool:
    """Whether there is no code, or an unknown one; a variable's value is not known here."""
    if expression is None:
        return True
    module = importlib.import_module(".".join(path.with_suffix("").parts)) if path.parts[0] == "saltern" else None
    try:
        code = eval(compile(ast.Expression(expression), str(path), "eval"), dict(vars(module)) if module else {})  # noqa: S307
    except NameError:
        return False
    return code not in runbooks.CODES


@pytest.mark.parametrize(("name", "position"), [("Problem", None), ("PlanError", 1)])
def test_no_problem_is_made_without_a_code(name, position):
    places = [
        (path, call)
        for path, tree in trees()
        if imports(tree, name) not in (None, OF_DEFINITION) or str(path) == "saltern/plan.py"
        for call in made(tree, name)
    ]
    assert len(places) > 5
    assert [f"{path}:{call.lineno}" for path, call in places if wrong(code_of(call, position), path)] == []


@pytest.mark.parametrize(
    "source",
    ["Problem('n', 's', 'c')", "Problem('n', 's', 'c', code='')", "Problem('n', 's', 'c', code='unheard-of')"],
)
def test_a_problem_without_a_code_is_found(source):
    (call,) = made(ast.parse(source), "Problem")
    assert wrong(code_of(call, None), Path("saltern/steps.py"))


def test_a_problem_cannot_be_made_without_a_code():
    with pytest.raises(TypeError, match="code"):
        Problem("n", "s", "c")


def test_a_stage_fails_by_problems_alone():
    """A text has no code: what a StageError is made of are problems."""
    calls = [(path, call) for path, tree in trees() for call in made(tree, "StageError")]
    assert len(calls) > 10
    texts = (ast.Constant, ast.JoinedStr)
    bare = [(path, call) for path, call in calls if not call.args or any(isinstance(arg, texts) for arg in call.args)]
    assert [f"{path}:{call.lineno}" for path, call in bare] == []


@pytest.mark.parametrize("error", [error for error in run.EXPECTED if error is not run.StageError])
def test_what_else_ends_a_stage_has_codes(error):
    examples = {PlanError: PlanError("text", "definition-nodes"), DefinitionError: DefinitionError([Finding(*"abcd")])}
    codes = getattr(examples.get(error, error), "codes", ())
    assert codes and set(codes) <= set(runbooks.CODES)


def test_every_code_is_told_by_something():
    lists = ("OTHER_CODES", "CODES")
    used = set()
    for _path, tree in trees():
        tree.body = [node for node in tree.body if not (isinstance(node, ast.AnnAssign) and node.target.id in lists)]
        used |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert set(runbooks.CODES) - used == set()


def test_every_state_module_has_a_code_and_every_named_one_is_there():
    """Of the orchestration's own stages each failure has its own."""
    modules = {path.stem for path in (CHECKOUT / "_states").glob("*.py")} - {"stage"}
    assert set(runbooks._STATE_MODULES) == modules
    assert set(runbooks._STATE_MODULES.values()) <= set(runbooks.CODES)


def test_every_function_that_is_named_is_there():
    for name, code in runbooks._FUNCTIONS.items():
        module, _, function = name.partition(".")
        assert f"\ndef {function}(" in (CHECKOUT / "_modules" / f"{module}.py").read_text()
        assert code in runbooks.CODES


def test_a_lock_that_is_held_leads_to_its_page():
    assert runbooks.told(record.LockedError("x")) == f"x\n    see {runbooks.DIRECTORY}/cluster-locked.md"
