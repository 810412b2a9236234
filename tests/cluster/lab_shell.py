"""The operator's shell: commands run as `eval "$(make -s lab-env)"` gives them, seen from outside the nodes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Shell:
    """A shell environment of the running lab.

    ``environment``: the variables that ``make -s lab-env`` exports, over the caller's own.
    """

    environment: dict[str, str]

    def run(self, *argv: str, timeout_s: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the lab's shell; its output is text. A failure's message carries both streams."""
        done = subprocess.run(
            argv, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=CHECKOUT
        )
        if check and done.returncode:
            raise AssertionError(
                f"{shlex.join(argv)} exited {done.returncode}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
            )
        return done

    def json(self, *argv: str, timeout_s: float = 120) -> Any:
        """The parsed JSON that a command prints."""
        return json.loads(self.run(*argv, timeout_s=timeout_s).stdout)

    def kubectl(self, *argv: str, timeout_s: float = 60) -> Any:
        """The parsed object(s) that ``kubectl ... -o json`` prints."""
        return self.json("kubectl", *argv, "-o", "json", timeout_s=timeout_s)

    def salt(self, target: str, function: str, *argv: str, timeout_s: float = 300) -> dict[str, Any]:
        """The returns of a Salt function by minion ID; the target is a glob or a list of names with commas."""
        kind = ("-L",) if "," in target else ()
        argv = (*kind, target, function, *argv)
        done = self.run("salt", "--static", "--out=json", *argv, timeout_s=timeout_s, check=False)
        try:
            return dict(json.loads(done.stdout))
        except ValueError:
            raise AssertionError(f"salt {target} {function} gave no JSON:\n{done.stdout}\n{done.stderr}") from None


def lab_environment() -> dict[str, str]:
    """What ``eval "$(make -s lab-env)"`` leaves in a shell's environment."""
    printed = subprocess.run(
        ["bash", "-c", 'eval "$(make -s lab-env)" && env -0'], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    pairs = (line.partition("=") for line in printed.stdout.split("\0") if line)
    return {**os.environ, **{name: value for name, _, value in pairs}}
