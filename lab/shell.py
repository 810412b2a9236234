"""Running the machine's commands: the one place of the lab that starts a process and waits for it."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import CommandError, LabError


@dataclass(frozen=True)
class Output:
    """What a command left behind: its exit code and both streams as text."""

    returncode: int
    stdout: str
    stderr: str


def attempt(
    argv: Sequence[str | Path],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 600,
) -> Output:
    """Run a command to its end, whatever its exit code.

    Args:
        argv: the command and its arguments; nothing goes through a shell.
        stdin: text for its standard input; without it, /dev/null.
        env: its whole environment; without it, ours.
        cwd: its working directory.
        timeout_s: how long it may take.

    Returns:
        Exit code and output.

    Raises:
        LabError: the command does not exist, or was still running at the deadline (it is killed then).
    """
    words = [str(word) for word in argv]
    source: dict[str, object] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    try:
        done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603  (a list of words, never a shell's line)
            words, capture_output=True, text=True, errors="replace", env=env, cwd=cwd, timeout=timeout_s, **source
        )
    except FileNotFoundError as err:
        raise LabError(f"`{words[0]}` is not on this machine: run `make up`, it installs what is missing") from err
    except subprocess.TimeoutExpired as err:
        raise LabError(f"`{' '.join(words)}` was still running after {timeout_s:g} s and was ended") from err
    return Output(done.returncode, done.stdout, done.stderr)


def run(
    argv: Sequence[str | Path],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 600,
) -> str:
    """Run a command that has to succeed.

    Args: as for `attempt`.

    Returns:
        Its standard output.

    Raises:
        CommandError: its exit code was not 0.
        LabError: as for `attempt`.
    """
    output = attempt(argv, stdin=stdin, env=env, cwd=cwd, timeout_s=timeout_s)
    if output.returncode:
        raise CommandError([str(word) for word in argv], output.returncode, output.stderr or output.stdout)
    return output.stdout


def pipe(argv: Sequence[str | Path], stdin: bytes, timeout_s: float = 600) -> tuple[int, bytes, bytes]:
    """Run a command with bytes in and out, whatever its exit code.

    Args:
        argv: the command and its arguments.
        stdin: bytes for its standard input.
        timeout_s: how long it may take.

    Returns:
        Exit code, standard output, standard error.

    Raises:
        LabError: it was still running at the deadline (it is killed then).
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, timeout=timeout_s)  # noqa: S603  (a list of words)
    except subprocess.TimeoutExpired as err:
        raise LabError(f"`{words[0]}` was still running after {timeout_s:g} s and was ended") from err
    return done.returncode, done.stdout, done.stderr
