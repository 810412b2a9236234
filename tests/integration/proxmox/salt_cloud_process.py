"""One salt-cloud command as a process of its own, which may die anywhere: the driver, without salt-cloud around it.

salt-cloud itself takes seconds to start. What it does before it calls the driver is done here in its place: it asks
``list_nodes_min``, takes a failed answer for no machines, creates what is not there and destroys what is.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import salt.config
import salt.utils.cloud
from salt.exceptions import SaltCloudException

from saltern.proxmox.api import Proxmox

CHECKOUT = Path(__file__).parents[3]
ALIAS = "my-proxmox-config"


def _loaded() -> ModuleType:
    specification = importlib.util.spec_from_file_location("proxmox_driver", CHECKOUT / "_clouds" / "proxmox.py")
    assert specification and specification.loader
    driver = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(driver)
    return driver


# Pauses of the driver are this much shorter: they are made for real hardware.
HASTE = 50
# Loaded, with all that it imports, by the process that the commands are forked from.
_DRIVER = _loaded()
_METHODS = multiprocessing.get_context("forkserver")
_METHODS.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Master:
    """The Salt master that the command runs on: its directories, and keys that new minions may have.

    Making a key pair takes longer than all the rest of a create, so there is a supply.
    """

    pki_dir: Path
    pillar_dirs: tuple[str, ...]
    state_dir: Path
    key_pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Command:
    """What is typed, and where it dies.

    Attributes:
        verb, name: ``salt-cloud -p ROLE NAME`` or ``salt-cloud -d NAME``.
        role: of the profile.
        provider: the provider file.
        dies_at: it is killed at its call of this number, counted from 1; None lets it live.
        dies_after: the call is made first, and its answer never read.
    """

    verb: Literal["create", "destroy"]
    name: str
    role: str
    provider: dict[str, Any] = field(repr=False)
    dies_at: int | None = None
    dies_after: bool = False

    def __str__(self) -> str:
        told = f"{self.verb} {self.name}"
        if self.dies_at:
            told += f", killed {'after' if self.dies_after else 'before'} its call {self.dies_at}"
        return told


class Running:
    """A command that runs."""

    def __init__(self, command: Command, master: Master, log: Path) -> None:
        self.command = command
        self._answer, answer = _METHODS.Pipe(duplex=False)
        self._process = _METHODS.Process(target=_run, args=(command, master, log, answer))
        self._process.start()
        answer.close()

    def end(self, timeout_s: float) -> dict[str, Any] | None:
        """Wait for its end. Returns: {"done": result} or {"failed": text}; None when it was killed."""
        try:
            ended = self._answer.poll(timeout_s)
            answer: dict[str, Any] | None = self._answer.recv() if ended else None
        except EOFError:
            ended, answer = True, None
        if not ended:
            self._process.kill()
        self._process.join(timeout_s)
        assert ended, f"{self.command} still runs after {timeout_s:.0f} s"
        assert answer or self.command.dies_at, f"{self.command} ended with {self._process.exitcode} and without a word"
        assert "broken" not in (answer or {}), f"{self.command}: {(answer or {})['broken']}"
        return answer


def _run(command: Command, master: Master, log: Path, answer: Connection) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 2)
    if command.dies_at:
        _let_die(command.dies_at, command.dies_after)
    try:
        answer.send({"done": _obey(command, _driver(command, master))})
    except SaltCloudException as err:
        os.write(descriptor, f"{command}: {err}\n".encode())
        answer.send({"failed": str(err)})
    except Exception:
        # salt-cloud would show a traceback: never what an operator is to see.
        answer.send({"broken": traceback.format_exc()})


def _obey(command: Command, driver: ModuleType) -> Any:
    try:
        machines = driver.list_nodes_min()
    except SaltCloudException:
        machines = {}
    if command.verb == "create":
        if command.name in machines:
            return "already exists"
        return driver.create(command.provider | {"name": command.name, "profile": command.role, "role": command.role})
    if command.name not in machines:
        return "not found"
    return driver.destroy(command.name)


def _driver(command: Command, master: Master) -> ModuleType:
    """The driver with what Salt's loader gives it."""
    given: dict[str, Any] = {
        "__opts__": dict(salt.config.DEFAULT_MASTER_OPTS)
        | {
            "names": [command.name],
            "destroy": command.verb == "destroy",
            "pki_dir": str(master.pki_dir),
            "saltern": {"pillar_dirs": list(master.pillar_dirs), "state_dir": str(master.state_dir)},
            "providers": {ALIAS: {"proxmox": command.provider}},
        },
        "__active_provider_name__": f"{ALIAS}:proxmox",
        "__utils__": {"cloud.fire_event": lambda *_, **__: None, "cloud.filter_event": lambda *_: {}},
        "_pause": lambda seconds: time.sleep(seconds / HASTE),
    }
    _DRIVER.__dict__.update(given)
    pair = master.key_pairs[os.getpid() % len(master.key_pairs)]
    _DRIVER._Minions.new_keys = lambda _self: pair
    return _DRIVER


def _let_die(number: int, after: bool) -> None:
    """Kill this process at the n-th call to Proxmox."""
    real: Callable[..., Any] = Proxmox.call
    seen = 0

    def call(self: Proxmox, method: str, path: str, /, **parameters: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == number and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = real(self, method, path, **parameters)
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(Proxmox, "call", call)  # noqa: B010  # mypy refuses the plain assignment
