"""docs/production.md gives a master and a minion like those that the lab runs: what is tested there holds for both."""

import configparser
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import salt_master
from lab.paths import CHECKOUT, Paths

GUIDE = (CHECKOUT / "docs/production.md").read_text()
THERE = "/srv/saltern"  # where the guide puts the checkout


def unit(text: str) -> dict[str, dict[str, str]]:
    """The sections of a systemd unit."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their capitals
    parser.read_string(text)
    return {section: dict(parser[section]) for section in parser.sections()}


def block(before: str, language: str) -> str:
    """The first block of a language behind some words of the guide."""
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.partition(before)[2], re.DOTALL)[0]


def test_the_minion_is_started_as_in_the_lab() -> None:
    (shown,) = re.findall(r"cat >salt-minion.service <<'EOF'\n(.*?)EOF\n", GUIDE, re.DOTALL)
    lab = unit((CHECKOUT / "lab/nodes/files/salt-minion.service").read_text())
    lab["Unit"].pop("Documentation")
    assert unit(shown) == lab


def test_the_master_is_started_from_where_the_guide_installs_it() -> None:
    shown = unit(block("/etc/systemd/system/salt-master.service", "ini"))
    start = shown["Service"]["ExecStart"]
    assert start == "/opt/saltern/bin/salt-master"
    assert f"python3 -m venv {Path(start).parents[1]} " in GUIDE


@pytest.mark.parametrize("key", sorted(set(yaml.safe_load(block("/etc/salt/master.d/", "yaml"))) - {"saltern"}))
def test_the_master_is_configured_as_in_the_lab(tmp_path: Path, key: str) -> None:
    shown: dict[str, Any] = yaml.safe_load(block("/etc/salt/master.d/", "yaml").replace(THERE, str(CHECKOUT)))
    lab = salt_master.master_config(Paths(state=tmp_path / "state", cache=tmp_path / "cache"))
    assert json.dumps(shown[key], sort_keys=True) == json.dumps(lab[key], sort_keys=True)
