"""What `make up` refuses before it makes anything."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lab import up
from lab.errors import LabError
from lab.paths import CHECKOUT, Paths
from lab.up import Lab
from tests.unit.lab.test_host import ORDINARY


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab of an ordinary machine with a checkout of its own, which has nothing but the pillar."""
    monkeypatch.setattr(up, "detect", lambda paths: ORDINARY)
    shutil.copytree(CHECKOUT / "pillar", tmp_path / "checkout/pillar")
    return Lab(Paths(tmp_path / "state", tmp_path / "cache", tmp_path / "checkout"), progress=lambda line: None)


@pytest.fixture
def started(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the lab has begun with."""
    begun: list[str] = []

    def artefacts(lab: Lab) -> None:
        begun.append("artefacts")
        raise LabError("far enough")

    monkeypatch.setattr(Lab, "_artefacts", artefacts)
    return begun


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("cluster.sls", "192.168.100.154", "192.168.100.153", "nodes.saw-k8s-w-01.address = 192.168.100.153"),
        ("cluster.sls", "nodes:", "nodes: [", "1 error; nothing was done.\n1. definition"),
        ("versions.sls", "kubernetes: 1.36.4", "kubernetes: 1.36", "kubernetes = 1.36"),
        ("versions.sls", "artefacts:", "artefacts: {", "1 error; nothing was done.\n1. definition"),
    ],
)
def test_a_wrong_definition_is_refused_before_anything_is_made(
    lab: Lab, started: list[str], file: str, old: str, new: str, message: str
) -> None:
    path = lab.paths.checkout / "pillar" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(LabError, match=r"The cluster's definition has \d+ errors?; nothing was done") as refused:
        lab.start()
    assert message in str(refused.value)
    assert str(path) in str(refused.value)
    assert started == []
    assert not lab.paths.state.exists() and not lab.paths.cache.exists()


def test_sums_that_the_lab_brings_are_not_asked_for(lab: Lab, started: list[str]) -> None:
    with pytest.raises(LabError, match="far enough"):
        lab.start()
    assert started == ["artefacts"]


def test_what_is_missing_of_the_machine_is_told_at_once_and_nothing_is_made(lab: Lab, started: list[str]) -> None:
    lab.host = replace(ORDINARY, memory_mib=1024, loop=False)
    with pytest.raises(LabError) as refused:
        lab.start()
    assert "1.0 GiB of memory" in str(refused.value) and "/dev/loop-control" in str(refused.value)
    assert started == [] and not lab.paths.state.exists()
