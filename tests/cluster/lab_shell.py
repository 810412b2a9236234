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

    def renew_kubeconfig(self) -> None:
        """The operator's kubeconfig of a cluster that was made anew: it has another CA."""
        self.run("salt-run", "cluster.kubeconfig", f"path={self.environment['KUBECONFIG']}")

    def salt(self, target: str, function: str, *argv: str, timeout_s: float = 300) -> dict[str, Any]:
        """The returns of a Salt function by minion ID; the target is a glob or a list of names with commas."""
        kind = ("-L",) if "," in target else ()
        argv = (*kind, target, function, *argv)
        # Not --static: that is a batch, which drops a minion whose job lasts longer than its time-out (Salt 3008.3).
        done = self.run("salt", "--out=json", *argv, timeout_s=timeout_s, check=False)
        try:
            return merged(done.stdout)
        except ValueError:
            raise AssertionError(f"salt {target} {function} gave no JSON:\n{done.stdout}\n{done.stderr}") from None


def merged(output: str) -> dict[str, Any]:
    """The mappings of an output that has one JSON text a minion. Raises ValueError."""
    found: dict[str, Any] = {}
    decoder, rest = json.JSONDecoder(), output.lstrip()
    while rest:
        mapping, end = decoder.raw_decode(rest)
        found |= mapping
        rest = rest[end:].lstrip()
    return found


def lab_environment(checkout: Path = CHECKOUT) -> dict[str, str]:
    """What ``eval "$(make -s lab-env)"`` leaves in a shell's environment."""
    printed = subprocess.run(
        ["bash", "-c", 'eval "$(make -s lab-env)" && env -0'], cwd=checkout, capture_output=True, text=True, check=True
    )
    pairs = (line.partition("=") for line in printed.stdout.split("\0") if line)
    return {**os.environ, **{name: value for name, _, value in pairs}}
