"""A minion in this process: Salt's own loader over the project's modules, states with test mode off and on."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.loader

CHECKOUT = Path(__file__).parents[3]
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC_PRIVATE = 16384 | (1 << 18)


class Minion:
    """The functions of a minion: `call` an execution module, `apply` a state, `preview` it with test=True."""

    def __init__(self, root: Path, pillar: dict[str, Any] | None = None) -> None:
        options = salt.config.DEFAULT_MINION_OPTS.copy() | {
            "id": "saw-k8s-w-01",
            "root_dir": str(root),
            "cachedir": str(root / "cache"),
            "extension_modules": str(root / "extmods"),
            "module_dirs": [str(CHECKOUT / "salt")],
            "file_client": "local",
            "pillar": pillar or {},
            "grains": {"os": "Debian", "os_family": "Debian", "kernel": "Linux", "saltversioninfo": [3008, 3]},
        }
        self.options = options
        self.functions = salt.loader.minion_mods(options)
        self._states = {
            test: salt.loader.states(options | {"test": test}, self.functions, {}, {}) for test in (False, True)
        }
        self._replaced: dict[str, Any] = {}

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """Call an execution module."""
        return self.functions[function](*args, **kwargs)

    def apply(self, state: str, name: str = "A sentence", **kwargs: Any) -> dict[str, Any]:
        """Apply a state."""
        return dict(self._states[False][state](name, **kwargs))

    def preview(self, state: str, name: str = "A sentence", **kwargs: Any) -> dict[str, Any]:
        """Apply a state with test=True."""
        return dict(self._states[True][state](name, **kwargs))

    def settle(self, state: str, name: str = "A sentence", **kwargs: Any) -> dict[str, Any]:
        """Preview, apply, apply again: the preview tells exactly what is then done, the second run finds nothing to do.

        Returns what the first one did.
        """
        preview = self.preview(state, name, **kwargs)
        done = self.apply(state, name, **kwargs)
        assert done["result"] is True, done
        assert preview["result"] is (None if done["changes"] else True), preview
        assert preview["changes"] == done["changes"]
        again = self.apply(state, name, **kwargs)
        assert (again["result"], again["changes"]) == (True, {}), again
        assert self.preview(state, name, **kwargs)["result"] is True
        return done

    def replace(self, function: str, replacement: Callable[..., Any]) -> None:
        """Have modules and states find another function under a name, until the test ends."""
        self._replaced.setdefault(function, self.plain(function))
        # The loader asks a function for its module, which methods of built-in types do not have.
        self.functions[function] = lambda *args, **kwargs: replacement(*args, **kwargs)

    def plain(self, function: str) -> Callable[..., Any]:
        """The function itself: what the loader hands out looks its name up again at every call."""
        self.functions[function]
        return dict.__getitem__(self.functions._dict, function)

    def restore(self) -> None:
        """Undo every replacement."""
        for function, original in self._replaced.items():
            self.functions[function] = original
        self._replaced.clear()


@pytest.fixture(scope="session")
def _minion(tmp_path_factory: pytest.TempPathFactory) -> Minion:
    return Minion(tmp_path_factory.mktemp("minion"))


@pytest.fixture
def minion(_minion: Minion, tmp_path: Path) -> Iterator[Minion]:
    """The minion, with no function replaced, and its notes of due restarts in a place of the test's own."""
    for word in ("note", "reasons", "forget"):
        function = f"unit_restart.{word}"
        _minion.replace(function, partial(_minion.plain(function), directory=tmp_path / "restarts"))
    yield _minion
    _minion.functions.pack["__context__"].clear()
    _minion.restore()


@pytest.fixture
def backups(tmp_path: Path) -> list[str]:
    """The two backup directories: the working and the durable one."""
    return [str(tmp_path / "work/backup"), str(tmp_path / "backup")]


def _child(story: Callable[[], None], flags: int, report: Connection) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if libc.unshare(flags):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        if flags & CLONE_NEWNS and libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        story()
        report.send("")
    except BaseException:
        report.send(traceback.format_exc())


def run_apart(story: Callable[[], None], flags: int) -> None:
    """Run a story in a child process with namespaces of its own; fail with its traceback."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(story, flags, sender))
    child.start()
    sender.close()
    failure = receiver.recv()
    child.join()
    assert not failure, failure


@pytest.fixture
def mount_namespace() -> Callable[[Callable[[], None]], None]:
    """Run a function where its mounts are seen by nobody else and end with it."""
    return lambda story: run_apart(story, CLONE_NEWNS)


@pytest.fixture
def network_namespace() -> Callable[[Callable[[], None]], None]:
    """Run a function in a network of its own, with its own net.* sysctls."""
    return lambda story: run_apart(story, CLONE_NEWNET)
