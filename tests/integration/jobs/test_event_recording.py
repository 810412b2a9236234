"""What passes on a real master's event bus is recorded: a call's arguments and each node's answer."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest

from tests.cluster.recorder import Recorders, heading_at


@pytest.fixture
def recorders(master, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Recorders that take this master for the lab's."""
    etc = tmp_path / "state/salt/etc"
    etc.mkdir(parents=True)
    (etc / "master").symlink_to(master.config["conf_file"])
    monkeypatch.setenv("SALTERN_STATE", str(tmp_path / "state"))
    with Recorders(tmp_path) as running:
        yield running


def recorded(path: Path, word: str, ask) -> bytes:
    """The recording once it has a word that ``ask`` sends over the bus; the recorder takes a moment to connect."""
    deadline = time.monotonic() + 90
    while word.encode() not in (content := path.read_bytes() if path.exists() else b""):
        assert time.monotonic() < deadline, f"{word} was not recorded"
        ask()
        time.sleep(1)
    return content


def test_arguments_and_answers_are_recorded(recorders: Recorders, master, minions) -> None:
    word = f"word-{uuid.uuid4().hex}"
    salt, path = master.salt_cli(timeout=60), recorders.files["events"]
    recorded(path, word, lambda: salt.run("test.echo", word, minion_tgt="job-w"))
    salt.run("test.echo", f"{word}-again", minion_tgt="job-w")
    content = recorded(path, f"{word}-again", lambda: None)
    headings = {heading_at(path, at) for at in range(len(content)) if content.startswith(f"{word}-again".encode(), at)}
    assert {heading.split("/")[3] for heading in headings if heading.startswith("salt/job/")} >= {"new", "ret"}
