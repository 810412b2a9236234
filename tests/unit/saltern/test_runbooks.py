"""The runbooks: a page for each code, a code for each page, and nothing in them that is not there."""

from __future__ import annotations

import ast
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.loader

from saltern import preflight_codes, runbooks
from saltern.definition import Report
from saltern.findings import DefinitionError, Finding
from saltern.proxmox.create import CreateFailedError, UnmendedError
from saltern.proxmox.errors import StorageFullError
from saltern.proxmox.remove import Outcome

CHECKOUT = Path(__file__).parents[3]
SALT_FOLDER = CHECKOUT / "salt"
INDEX = runbooks.DIRECTORY / "README.md"
PAGES = sorted(path for path in runbooks.DIRECTORY.glob("*.md") if path != INDEX)
PARTS = ["How it looks", "Likely causes", "Look closer", "What to type", "Mended when"]
# Whose messages an operator of a run can see.
PRODUCT = ("saltern", "_modules", "_states", "_runners", "_clouds", "_utils", "orchestrate", "salt")
# The parts of a message that are the same each time; shorter pieces are in many messages.
TELLING_CHARACTERS = 18


def title_of(page: Path) -> str:
    return page.read_text().splitlines()[0].removeprefix("# ")


def test_each_code_has_a_page_and_each_page_a_code():
    assert {page.stem for page in PAGES} == set(runbooks.CODES)


def test_codes_of_the_preflight_and_of_the_rest_are_apart():
    assert not set(preflight_codes.CODES) & set(runbooks.OTHER_CODES)


def test_a_page_has_the_title_that_the_code_has():
    assert {page.stem: title_of(page) for page in PAGES} == runbooks.CODES


def test_the_index_lists_every_page_by_its_title():
    listed = dict(re.findall(r"\[([a-z-]+)\]\(\1\.md\) \| ([^|]+) \|", INDEX.read_text()))
    assert listed == runbooks.CODES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_every_part_and_is_short(page):
    text = page.read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == PARTS
    assert all(part.strip() for part in re.split(r"^## .*$", text, flags=re.MULTILINE))
    assert len(text.splitlines()) <= 75


@pytest.mark.parametrize("page", [*PAGES, INDEX], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_a_message_that_the_product_can_print(page):
    shown = " ".join(page.read_text().split("```text")[1].split("```")[0].split())
    assert any(piece in shown for piece in said()), shown


@cache
def said() -> frozenset[str]:
    """The fixed pieces of all texts in the product's code and SLS titles."""
    pieces = []
    for folder in PRODUCT:
        for path in (CHECKOUT / folder).rglob("*.py"):
            pieces += [
                node.value
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            ]
    titles = [line.rstrip(":") for path in SALT_FOLDER.rglob("*.sls") for line in path.read_text().splitlines()]
    parts = (part.strip() for piece in [*pieces, *titles] for part in re.split(r"\{[^}]*\}|\n", piece))
    return frozenset(" ".join(part.split()) for part in parts if len(part) >= TELLING_CHARACTERS)


# Commands.


def commands(page: Path) -> list[list[str]]:
    """Every command of Salt's on a page, as words: in blocks of shell and in running text."""
    text = page.read_text()
    blocks = "\n".join(re.findall(r"```shell\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    lines = blocks.splitlines() + re.findall(r"`(salt[^`]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    split = [shlex.split(line, comments=True) for line in lines]
    return [words for words in split if words and words[0] in ("salt", "salt-run", "salt-call", "salt-cloud")]


@cache
def node_functions() -> Any:
    options = dict(salt.config.DEFAULT_MINION_OPTS) | {
        "module_dirs": [str(SALT_FOLDER)],
        "grains": {"kernel": "Linux", "os_family": "Debian", "os": "Debian", "init": "systemd"},
        "pillar": {},
    }
    return salt.loader.minion_mods(options, utils=salt.loader.utils(options))


@cache
def runner_functions() -> Any:
    return salt.loader.runner(dict(salt.config.DEFAULT_MASTER_OPTS) | {"module_dirs": [str(SALT_FOLDER)]})


def sls_exists(name: str) -> bool:
    path = SALT_FOLDER / name.replace(".", "/")
    return (path / "init.sls").exists() or path.with_name(f"{path.name}.sls").exists()


def unknown(words: list[str]) -> str:
    """What a command names that does not exist; "" when all is there."""
    program, *rest = words
    if program == "salt-cloud":
        source = (CHECKOUT / "_clouds" / "proxmox.py").read_text()
        missing = [rest[1]] if rest[0] == "-a" and f"def {rest[1].replace('-', '_')}(" not in source else []
        return ", ".join(missing)
    if program == "salt-call":
        rest = [word for word in rest if word != "--local"]
    else:
        rest = rest[1:] if program == "salt" else [word for word in rest if not word.startswith("--out")]
    function, *arguments = rest
    known = runner_functions() if program == "salt-run" else node_functions()
    if function not in known and not our_function(function):
        return function
    sls = (
        arguments[0].split(",")
        if function in ("state.apply", "state.orchestrate", "state.show_sls") and arguments
        else []
    )
    return ", ".join(name for name in sls if "=" not in name and not sls_exists(name))


def our_function(function: str) -> bool:
    """Modules of ours that do not load on this machine (they look for a tool) are read."""
    module, _, name = function.partition(".")
    path = SALT_FOLDER / "_modules" / f"{module}.py"
    return path.exists() and f"\ndef {name}(" in path.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_tells_to_type_exists(page):
    assert [(words, wrong) for words in commands(page) if (wrong := unknown(words))] == []


def test_a_command_that_does_not_exist_is_found():
    assert unknown(["salt", "*", "kubeadm.stauts"]) == "kubeadm.stauts"
    assert unknown(["salt", "*", "state.apply", "os,binary"]) == "binary"
    assert unknown(["salt-run", "cluster.statistics"]) == "cluster.statistics"
    assert unknown(["salt-run", "state.orchestrate", "orchestrate.clusters"]) == "orchestrate.clusters"
    assert unknown(["salt-cloud", "-a", "launch", "a"]) == "launch"


# The code.


def test_a_code_leads_to_its_page_once():
    lines = runbooks.see(["storage", "storage", ""])
    assert lines == f"\n    see {runbooks.DIRECTORY}/storage.md"
    assert runbooks.see([]) == ""


def test_an_error_from_another_process_brings_its_code_along():
    outcome = Outcome()
    failed = CreateFailedError("w1", StorageFullError("POST clone", "no space", "Make room."), outcome)
    text, code = runbooks.split(f"Error: {runbooks.told(failed)}")
    assert code == "proxmox-storage-full"
    assert text == f"Error: {failed}"


def test_a_text_without_a_code_is_left_as_it_is():
    assert runbooks.split("see docs/other.md\nsee /x/runbooks/unheard-of.md") == (
        "see docs/other.md\nsee /x/runbooks/unheard-of.md",
        "",
    )


def test_a_create_that_cannot_be_mended_has_its_own_page():
    assert CreateFailedError("w1", UnmendedError(), Outcome()).codes == ("machine-leftover",)
    assert CreateFailedError("w1", OSError("disk"), Outcome()).codes == ("machine-not-created",)


def test_a_definition_error_leads_to_each_kind_once():
    findings = [
        Finding("a", "", "r", "m"),
        Finding("b", "", "r", "m", code="definition-network"),
        Finding("c", "", "r", "m"),
    ]
    assert DefinitionError(findings).codes == ("definition-file", "definition-network")
    assert Report(None, tuple(findings), ()).cluster is None


@pytest.mark.parametrize(
    ("module", "code"),
    [("artefact", "artefact-not-installed"), ("user", "state-failed"), ("kubeadm", "kubeadm-failed")],
)
def test_a_failed_state_leads_to_the_page_of_its_module(module, code):
    assert runbooks.of_state(module) == code


@pytest.mark.parametrize(
    ("function", "code"),
    [
        ("saltutil.sync_modules,saltutil.sync_states,saltutil.refresh_pillar", "modules-not-handed-out"),
        ("kube.wait_nodes_ready", "nodes-not-ready"),
        ("kubeadm.ca_certificate", "call-failed"),
    ],
)
def test_a_failed_call_leads_to_the_page_of_its_function(function, code):
    assert runbooks.of_function(function) == code
