"""What is wrong with a definition: findings that say where, which value, which rule, and what to write instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LONGEST_VALUE = 80  # characters of a value that a message shows


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or doubtful.

    Attributes:
        path: the key in its file, e.g. "nodes.saw-k8s-w-01.address".
        value: what is written there, as text ("" when the key is missing).
        rule: what it breaks, as a sentence without a full stop.
        remedy: what to write instead, or what to type.
        file: the file to edit, if known.
        line: its line (1-based), if known.
        code: the runbook of its kind.
    """

    path: str
    value: str
    rule: str
    remedy: str
    file: Path | None = None
    line: int | None = None
    code: str = "definition-file"

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file or "")
        value = f" = {self.value}" if self.value else ""
        where = f" ({place})" if place else ""
        return f"{self.path or 'definition'}{value}{where}\n    {self.rule}\n    {self.remedy}"


class DefinitionError(Exception):
    """The definition cannot be used. ``findings`` holds everything that is wrong, ``str()`` prints it as a list."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__(findings)
        self.findings = tuple(findings)
        self.codes = tuple(dict.fromkeys(finding.code for finding in findings))

    def __str__(self) -> str:
        count = len(self.findings)
        head = f"The cluster's definition has {count} error{'s' if count > 1 else ''}; nothing was done."
        return "\n".join([head, *(f"{number}. {finding}" for number, finding in enumerate(self.findings, start=1))])


def shown(value: object) -> str:
    """A value as a message shows it, cut to a readable length."""
    text = "" if value is None else str(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."
