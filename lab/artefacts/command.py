"""Runs one external command, quietly when it works and with its own words when it does not."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.artefacts.errors import ArtefactError
from lab.artefacts.progress import HEARTBEAT_S

TAIL_LINES = 15


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    heartbeat: Callable[[], None] | None = None,
    hint: str = "",
) -> str:
    """Run a command to its end and return its standard output.

    Args:
        argv: program and arguments.
        cwd: directory to run it in.
        env: complete environment; None inherits.
        heartbeat: called every HEARTBEAT_S seconds while it runs.
        hint: what to do when it fails, added to the error.

    Raises:
        ArtefactError: it exited non-zero; the message holds the last lines it printed.
    """
    words = [str(word) for word in argv]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        with subprocess.Popen(words, cwd=cwd, env=env, stdout=output, stderr=errors) as process:  # noqa: S603 -- fixed argv
            try:
                _wait(process, heartbeat)
            except BaseException:  # Ctrl-C must not leave a compiler running
                process.kill()
                raise
        output.seek(0)
        errors.seek(0)
        text = output.read().decode(errors="replace")
        if process.returncode:
            tail = (errors.read().decode(errors="replace") + text).splitlines()[-TAIL_LINES:]
            raise ArtefactError(_failure(words, process.returncode, cwd, tail, hint))
    return text


def _wait(process: subprocess.Popen[bytes], heartbeat: Callable[[], None] | None) -> None:
    while True:
        try:
            process.wait(HEARTBEAT_S)
        except subprocess.TimeoutExpired:
            if heartbeat:
                heartbeat()
            continue
        return


def _failure(words: Sequence[str], code: int, cwd: Path | None, tail: Sequence[str], hint: str) -> str:
    where = f" (in {cwd})" if cwd else ""
    lines = "\n".join(f"    {line}" for line in tail)
    return f"`{' '.join(words)}`{where} failed with exit code {code}:\n{lines}" + (f"\n  {hint}" if hint else "")
