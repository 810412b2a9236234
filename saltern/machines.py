"""Have salt-cloud make the machines of the table that do not exist, and follow what it does.

salt-cloud runs as its own command, the one that an operator would type: what works here works there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

from saltern import runbooks
from saltern.arrivals import JOB_VARIABLE
from saltern.run import Run, StageError, Ticker
from saltern.steps import Problem

# A driver's line about one machine on standard error: "saw-k8s-w-01: cloning from 9000".
SAID = re.compile(r"^(?P<name>[a-z0-9][-a-z0-9.]*): (?P<what>\S.*)$")
TAIL_LINES = 8
# The runbook when salt-cloud fails as a whole and the driver names none.
NO_SALT_CLOUD = "salt-cloud-failed"
STOP_S = 10.0
# Of what salt-cloud says, read at a time; a line is shorter.
READ_BYTES = 1 << 20
# One query of Proxmox, or one start of a few machines, on a loaded host.
ASK_S = 120.0


def create_command(salt_cloud: Sequence[str], map_file: str) -> list[str]:
    """What makes the machines of a map as an operator would: in parallel, without questions."""
    return [*salt_cloud, "-P", "-m", map_file, "-y", "--out=json"]


@contextmanager
def map_of(rows: Mapping[str, str]) -> Iterator[str]:
    """A map file of some machines alone, for as long as the block lasts.

    Args:
        rows: machine -> its profile, which is named like its role.
    """
    profiles: dict[str, list[str]] = {}
    for name, profile in rows.items():
        profiles.setdefault(profile, []).append(name)
    with tempfile.NamedTemporaryFile("w", suffix=".map") as file:
        file.write(json.dumps(profiles))
        file.flush()
        yield file.name


def create(run: Run, command: Sequence[str], deadline_s: float) -> list[str]:
    """Run salt-cloud over the map of the table; returns the machines that it made.

    Args:
        run: for its progress lines and the event bus.
        command: salt-cloud with its arguments (parallel, map, no questions, JSON output).
        deadline_s: seconds for all machines together.

    Raises:
        StageError: what salt-cloud says went wrong, per machine.
    """
    return judge(run.again, *follow(run, command, deadline_s))


def follow(
    run: Run, command: Sequence[str], deadline_s: float, environment: Mapping[str, str] | None = None
) -> tuple[int | None, str, str]:
    """Run a salt-cloud command, telling what it is at; returns its exit code, standard output and standard error.

    Args:
        run: for its progress lines and the event bus.
        command: salt-cloud with its arguments.
        deadline_s: seconds until it is ended.
        environment: what is added to this process's own.

    Raises:
        StageError: it cannot be run, or is not done in time.
    """
    phases: dict[str, str] = {}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            process = subprocess.Popen(  # noqa: S603
                command,
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                env=os.environ | {JOB_VARIABLE: run.orchestration} | dict(environment or {}),
            )
        except OSError as error:
            cause = f"{command[0]} cannot be run: {error}"
            raise StageError(_problem(run.again, "", cause, NO_SALT_CLOUD)) from error
        try:
            ended = _follow(run, process, err, phases, run.clock() + deadline_s)
        finally:
            _stop(process)
        texts = _text(out), _text(err)
    if not ended:
        cause = f"not done within {deadline_s:.0f} s: {_phases(phases)}"
        raise StageError(_problem(run.again, "", cause, NO_SALT_CLOUD))
    return process.returncode, *texts


def start_stopped(run: Run, salt_cloud: Sequence[str], nodes: Sequence[str]) -> list[str]:
    """Start those machines that are switched off; returns their names.

    Args:
        run: for its remedy.
        salt_cloud: the command with its configuration.
        nodes: machines whose minions do not answer.

    Raises:
        StageError: what salt-cloud says went wrong.
    """
    if not nodes:
        return []
    states = machine_states(asked(run, [*salt_cloud, "-Q", "--out=json"]))
    stopped = [node for node in nodes if states.get(node) == "stopped"]
    if stopped:
        run.tell(f"switched off, starting: {', '.join(stopped)}")
        asked(run, [*salt_cloud, "-y", "-a", "start", *stopped, "--out=json"])
    return stopped


def machine_states(out: str) -> dict[str, str]:
    """Name -> state ("running", "stopped") from the output of ``salt-cloud -Q --out=json``."""
    return {
        name: str(machine.get("state"))
        for drivers in json_in(out).values()
        for found in drivers.values()
        for name, machine in found.items()
    }


def asked(run: Run, words: list[str]) -> str:
    """What a short call of salt-cloud prints. Raises StageError when it cannot be run, is late or fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=ASK_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as err:
        raise StageError(_problem(run.again, "", f"{words[0]}: {err}", NO_SALT_CLOUD)) from err
    if done.returncode:
        raise StageError(ended(run.again, words, done.returncode, done.stderr or done.stdout))
    return done.stdout


def judge(again: str, code: int | None, out: str, err: str) -> list[str]:
    """The machines that salt-cloud made, from its exit code and output. Raises StageError.

    ``again`` is what to type next. With ``-P`` salt-cloud exits with 0 although machines failed; their entries then
    hold "Error".
    """
    entries = json_in(out)
    problems = _problems(again, {name: str(entry["Error"]) for name, entry in entries.items() if _failed(entry)})
    if not problems and code:
        problems = [ended(again, ["salt-cloud"], code, err or out)]
    if problems:
        raise StageError(*problems)
    return [name for name, entry in entries.items() if isinstance(entry, Mapping) and "Message" not in entry]


def ended(again: str, words: Sequence[str], code: int, said: str) -> Problem:
    """salt-cloud's failure as a whole, with the runbook that the driver names, if it came that far."""
    text, runbook = runbooks.split(said)
    cause = f"{' '.join(words)} ended with exit code {code}: {_tail(text)}"
    return _problem(again, "", cause, runbook or NO_SALT_CLOUD)


def json_in(text: str) -> dict[str, Any]:
    """The JSON object in salt-cloud's output, which may begin with sentences; {} when there is none."""
    start = re.search(r"^\{", text, re.MULTILINE)
    if not start:
        return {}
    data, _ = json.JSONDecoder().raw_decode(text[start.start() :])
    return data if isinstance(data, dict) else {}


def _failed(entry: Any) -> bool:
    return isinstance(entry, Mapping) and "Error" in entry


def _follow(run: Run, process: subprocess.Popen[bytes], err: IO[str], phases: dict[str, str], deadline: float) -> bool:
    """Collect what is said about each machine; True when salt-cloud has ended, False when its time is over."""
    ticker = Ticker(run, lambda: f"salt-cloud: {_phases(phases) or 'asking Proxmox'}")
    position = 0
    while process.poll() is None and run.clock() < deadline:
        for tag, _ in run.master.raw_events(1.0):
            match tag.split("/"):
                case ["salt", "cloud", name, phase]:
                    phases[name] = phase
        # Not by seek: the position of the file is salt-cloud's too, which would write over what it has said.
        lines, newline, _rest = os.pread(err.fileno(), READ_BYTES, position).rpartition(b"\n")
        position += len(lines + newline)
        for line in lines.decode(errors="replace").splitlines():
            if said := SAID.match(line):
                phases[said["name"]] = said["what"]
        ticker()
    return process.poll() is not None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End salt-cloud when it still runs: by itself, so that it can remove what it has half made."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _phases(phases: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {phase}" for name, phase in sorted(phases.items()))


def _tail(text: str) -> str:
    return " / ".join(line.strip() for line in text.splitlines()[-TAIL_LINES:] if line.strip())


def _problems(again: str, errors: Mapping[str, str]) -> list[Problem]:
    """One problem of each cause (a template that is missing, Proxmox out of reach), under all machines' names."""
    stopped = defaultdict[str, list[str]](list)
    for name, error in errors.items():
        stopped[error.removeprefix(f"{name} was not created. ")].append(name)
    return [
        _of_driver(again, ", ".join(names), cause if len(names) > 1 else errors[names[0]])
        for cause, names in stopped.items()
    ]


def _of_driver(again: str, name: str, error: str) -> Problem:
    """What the driver says about a machine, or several: it names the runbook itself."""
    cause, code = runbooks.split(error)
    return _problem(again, name, cause, code or "machine-not-created")


def _problem(again: str, name: str, cause: str, code: str) -> Problem:
    return Problem(name, "Machine", cause, f"{again} (what was made stays; salt-cloud -Q lists it)", code=code)
