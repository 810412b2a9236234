"""The lab's command line: `python -m lab up|start|down|env|build`."""

import argparse
import fcntl
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError
from lab.paths import Paths

LOCK = Path("/run/saltern-lab.lock")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of the lab.

    Args:
        argv: the words after `python -m lab`; without them, the process's own.

    Returns:
        Exit code: 0, the failed job's own, or 1 with one message.
    """
    options = _parser().parse_args(argv)
    paths = Paths.from_environment()
    try:
        return int(options.command(paths, options))
    except LabError as err:
        print(f"lab: {err}", file=sys.stderr)
        return 1


def up(paths: Paths, options: argparse.Namespace) -> int:
    """Bring the lab up, create the machines, make them a cluster."""
    from lab.up import Lab

    began = time.monotonic()
    with _alone("up"):
        lab = Lab(paths, say)
        lab.start()
        if lab.changes == 0:
            say("lab: nothing had to be changed")
        code = lab.main_job()
    say(f"make up: {time.monotonic() - began:.0f} s")
    return code


def start(paths: Paths, options: argparse.Namespace) -> int:
    """Bring the lab up without any machine."""
    from lab.up import Lab

    with _alone("start"):
        lab = Lab(paths, say)
        lab.start()
    say("lab: nothing had to be changed" if lab.changes == 0 else 'lab: up. Type: eval "$(make -s lab-env)"')
    return 0


def down(paths: Paths, options: argparse.Namespace) -> int:
    """Remove every trace of the lab but the cache."""
    from lab.down import down as take_down

    if os.geteuid() != 0:
        raise LabError("not root: the lab's processes and mounts belong to root. Type `sudo make down`")
    with _alone("down"):
        found = take_down(paths, say, keep_state=options.keep_state)
    say("lab: down" if found else "lab: there was none")
    return 0


def env(paths: Paths, options: argparse.Namespace) -> int:
    """Print what a shell needs: eval "$(make -s lab-env)"."""
    from lab.tools import shell_lines

    if not paths.bin.is_dir():
        raise LabError(f"{paths.bin} is missing, so the lab is not up. Type `make up` (or `make lab-start`)")
    print(shell_lines(paths))
    return 0


def build(paths: Paths, options: argparse.Namespace) -> int:
    """Fill the cache: artefacts, images, packages, the template of the nodes."""
    from lab.artefacts import build as artefacts
    from lab.artefacts.errors import ArtefactError
    from lab.host import detect
    from lab.nodes import template

    try:
        artefacts.ensure(paths.cache, runc_shim=detect(paths).needs_runc_shim)
    except ArtefactError as err:
        raise LabError(str(err)) from err
    say(f"lab: {template.ensure(paths, say)}")
    return 0


def say(line: str) -> None:
    """One line of progress, at once."""
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for function in (up, start, down, env, build):
        command = commands.add_parser(function.__name__, help=function.__doc__)
        command.set_defaults(command=function)
        if function is down:
            command.add_argument("--keep-state", action="store_true", help="leave disks, keys and records")
    return parser


@contextmanager
def _alone(command: str) -> Iterator[None]:
    """Only one `up`, `start` or `down` at a time on a machine: they share its network, cgroups and settings."""
    with LOCK.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            file.seek(0)
            owner = file.read().strip() or "another command"
            raise LabError(f"{owner} is at work on the lab: wait for its end, then type `make {command}`") from err
        if not LOCK.exists() or LOCK.stat().st_ino != os.fstat(file.fileno()).st_ino:
            raise LabError(f"another command on the lab has ended just now: type `make {command}` again")
        file.truncate(0)
        file.write(f"`make {command}` (PID {os.getpid()})")
        file.flush()
        yield
    LOCK.unlink(missing_ok=True)
