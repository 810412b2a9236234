"""running_binary.outdated, with processes as /proc shows them: a link to a program with a name or without."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.salt_node import Node

SHA = "a" * 64
PID = 4711


class Program:
    """A program in the sandbox, its record, and a process that runs it."""

    def __init__(self, root: Path) -> None:
        self.path = root / "sandbox/bin/kubelet"
        artefact = {"name": "kubelet", "version": "1.36.4", "sha256": SHA, "files": [{"path": str(self.path)}]}
        self.node = Node(root, {"saltern": {"artefacts": [artefact]}}, ["sandbox", "running_binary"])
        self.proc = root / "proc"
        (self.proc / str(PID)).mkdir(parents=True)
        self.path.write_text("kubelet")
        self.record: dict[str, Any] | None = None
        self.node.salt["artefact.record"] = lambda _name, _records: self.record
        self.installed()
        self.started()

    def installed(self, sha256: str = SHA) -> None:
        """The artefact's state has put what lies there now."""
        facts = self.path.stat()
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        known = {"sha256": digest, "mtime_ns": facts.st_mtime_ns, "ctime_ns": facts.st_ctime_ns}
        self.record = {"sha256": sha256, "files": {str(self.path): known}}

    def started(self) -> None:
        """The process runs what lies there now; a hard link is what /proc/PID/exe is to a program without a name."""
        program = self.proc / str(PID) / "exe"
        program.unlink(missing_ok=True)
        program.hardlink_to(self.path)

    def swapped(self, content: str) -> None:
        """Another file is put in its place, as a package manager or `install` would."""
        other = self.path.with_suffix(".new")
        other.write_text(content)
        other.replace(self.path)

    def outdated(self, pid: int = PID) -> str | None:
        answer: str | None = self.node.salt["running_binary.outdated"](pid, str(self.path), proc=str(self.proc))
        return answer


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def test_a_process_of_the_installed_program_stays(program: Program) -> None:
    assert program.outdated() is None


def test_no_process_is_not_outdated(program: Program) -> None:
    assert program.outdated(0) is None
    assert program.outdated(PID + 1) is None


def test_a_swapped_program_that_no_process_runs_is_no_reason(program: Program) -> None:
    program.swapped("KUBELET")
    assert program.outdated() is None
    program.swapped("kubelet")
    program.installed()
    assert program.outdated() is None


def test_a_process_of_a_swapped_program_is_outdated_before_and_after_the_file_is_mended(program: Program) -> None:
    program.swapped("KUBELET")
    program.started()
    reason = f"it runs another program than {program.path} of kubelet 1.36.4"
    assert program.outdated() == reason
    program.swapped("kubelet")
    program.installed()
    assert program.outdated() == reason
    program.started()
    program.installed()
    assert program.outdated() is None


def test_a_new_version_is_a_reason_before_and_after_it_is_installed(program: Program) -> None:
    program.installed(sha256="b" * 64)
    assert program.outdated() == f"{program.path} of kubelet 1.36.4 is new"
    program.swapped("newer")
    program.installed()
    assert program.outdated() is not None


def test_a_program_that_is_no_artefact_is_left_alone(program: Program) -> None:
    program.node.pillar["saltern"]["artefacts"] = []
    program.swapped("KUBELET")
    program.started()
    assert program.outdated() is None
