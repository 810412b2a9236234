"""keepalived.configured: accepted by the real keepalived."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.functional.node.conftest import CLONE_NEWNET, Minion, run_apart
from tests.functional.pair.conftest import DEVICE, NAMES

FIRST = NAMES[0]


@pytest.fixture
def on_a_node(monkeypatch: pytest.MonkeyPatch, programs: Path, minion: Minion, tmp_path: Path) -> Any:
    """Run a story in a network that has the first load balancer's address, with keepalived in PATH."""
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for word in ("note", "reasons", "forget"):
        function = f"unit_restart.{word}"
        minion.replace(function, partial(minion.plain(function), directory=tmp_path / "restarts"))

    def run(story: Any, address: str = "192.168.100.150/24") -> None:
        def in_network() -> None:
            for command in (f"link add {DEVICE} type veth", f"address add {address} dev {DEVICE}"):
                subprocess.run(["ip", *command.split()], check=True)
            story()

        run_apart(in_network, CLONE_NEWNET)

    yield run
    minion.restore()


def test_it_is_written_once_and_accepted(
    on_a_node: Any, minion: Minion, settings: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    config = tmp_path / "etc/keepalived.conf"
    wanted = settings[FIRST]["keepalived"]

    def story() -> None:
        done = minion.settle("keepalived.configured", settings=wanted, config=str(config))
        assert done["comment"] == f"written; {DEVICE} carries the address"
        assert minion.call("unit_restart.reasons", "keepalived.service") == [f"{config} changed"]
        config.chmod(0o600)
        assert minion.settle("keepalived.configured", settings=wanted, config=str(config))["changes"] == {
            str(config): {"mode": {"old": "0600", "new": "0644"}}
        }

    on_a_node(story)
    assert [path.name for path in config.parent.iterdir()] == ["keepalived.conf"]
    assert f"interface {DEVICE}\n" in config.read_text()


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("virtual_router_id", 300, "outside range"),
        ("check", {"path": "/no/such/script", "alive": "127.0.0.1:8405"}, "Disabling track script haproxy"),
    ],
)
def test_what_keepalived_refuses_is_not_put_in_place(
    on_a_node: Any,
    minion: Minion,
    settings: dict[str, dict[str, Any]],
    tmp_path: Path,
    part: str,
    value: Any,
    words: str,
) -> None:
    config = tmp_path / "keepalived.conf"
    config.write_text("# as before\n")
    wanted = settings[FIRST]["keepalived"] | {part: value}

    def story() -> None:
        done = minion.apply("keepalived.configured", settings=wanted, config=str(config))
        assert done["result"] is False and done["changes"] == {}
        assert "keepalived -t refuses the configuration, the old one stays" in done["comment"]
        assert words in done["comment"]

    on_a_node(story)
    assert config.read_text() == "# as before\n"
    assert sorted(path.name for path in tmp_path.iterdir() if "keepalived" in path.name) == ["keepalived.conf"]


def test_a_machine_without_its_address_is_named(
    on_a_node: Any, minion: Minion, settings: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    config = tmp_path / "keepalived.conf"

    def story() -> None:
        for told in (minion.preview, minion.apply):
            done = told("keepalived.configured", settings=settings[FIRST]["keepalived"], config=str(config))
            assert done["result"] is False
            assert "no interface has 192.168.100.150" in done["comment"]

    on_a_node(story, address="192.168.100.7/24")
    assert not config.exists()
