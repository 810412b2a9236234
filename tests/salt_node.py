"""A node for tests: the project's execution and state modules, loaded as Salt loads them, in a directory of their own.

Modules see real files and real subprocesses. What a test replaces, it replaces in `Node.salt`, by its full name.
"""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

CHECKOUT = Path(__file__).parent.parent

# Fake tools write down how they were called, then do as the test's script says.
FAKE_TOOL = """#!{python} -SE
import json, os, pathlib, sys
stdin = sys.stdin.read() if not sys.stdin.isatty() else ""
log = pathlib.Path({log!r})
files = {{}}
for word in sys.argv[1:]:
    path = pathlib.Path(word.partition("=")[2])
    if word.startswith("--config=") and path.is_file():
        files[str(path)] = {{"mode": oct(path.stat().st_mode & 0o7777), "text": path.read_text()}}
# What every client of the API is told alike is apart: no test of a call has to repeat it.
servers = [word for word in sys.argv if word == {to_endpoint!r}] + [os.environ.get("HELM_KUBEAPISERVER")]
sys.argv = [word for word in sys.argv if word != {to_endpoint!r}]
call = {{"argv": sys.argv, "stdin": stdin, "files": files, "kubeconfig": os.environ.get("KUBECONFIG")}}
call["server"] = (servers[0] or "").removeprefix("--server=")
with log.open("a") as out:
    out.write(json.dumps(call) + "\\n")
{script}
"""


def load(path: Path, dunders: Mapping[str, Any]) -> ModuleType:
    """Import a module of _modules or _states afresh and give it Salt's dunder names."""
    module = ModuleType(f"{path.parent.name}_{path.stem}")
    module.__file__ = str(path)
    exec(_compiled(path), vars(module))  # noqa: S102 (the project's own)
    vars(module).update(dunders)
    return module


@cache
def _compiled(path: Path) -> CodeType:
    """A module's code, compiled once a run: thousands of nodes are made of it."""
    return compile(path.read_bytes(), str(path), "exec")


def _public_functions(module: ModuleType) -> list[tuple[str, Callable[..., Any]]]:
    own = [item for item in vars(module).items() if getattr(item[1], "__module__", "") == module.__name__]
    return [(word, function) for word, function in own if callable(function) and not word.startswith("_")]


class Node:
    """One minion: pillar, options, a sandbox directory, its modules' functions by name."""

    def __init__(
        self, root: Path, pillar: Mapping[str, Any], modules: list[str], minion_id: str = "saw-k8s-m-01"
    ) -> None:
        self.root = root
        self.sandbox = root / "sandbox"
        self.tool_log = root / "calls.jsonl"
        (self.sandbox / "bin").mkdir(parents=True)
        paths = {"paths": {"sandbox": str(self.sandbox)}}
        self.pillar: dict[str, Any] = {"saltern": {**pillar.get("saltern", {}), **paths}}
        self.pillar |= {key: value for key, value in pillar.items() if key != "saltern"}
        self.opts: dict[str, Any] = {"id": minion_id, "test": False, "pki_dir": str(root / "pki")}
        self.salt: dict[str, Callable[..., Any]] = {}
        self.modules = {name: self._load("_modules", name) for name in modules}
        for name, module in self.modules.items():
            self.salt |= {f"{name}.{word}": function for word, function in _public_functions(module)}

    def _load(self, room: str, name: str) -> ModuleType:
        dunders = {"__salt__": self.salt, "__pillar__": self.pillar, "__opts__": self.opts, "__context__": {}}
        return load(CHECKOUT / room / f"{name}.py", dunders)

    def state(self, name: str) -> ModuleType:
        """Load a state module of this node."""
        return self._load("_states", name)

    def tool(self, name: str, script: str = "") -> None:
        """Put a fake tool into the sandbox; `script` is Python that sees `call` and may print and exit."""
        path = self.sandbox / "bin" / name
        endpoint = self.pillar["saltern"].get("cluster", {}).get("endpoint") or {"address": "", "port": ""}
        to_endpoint = f"--server=https://{endpoint['address']}:{endpoint['port']}"
        path.write_text(
            FAKE_TOOL.format(python=sys.executable, log=str(self.tool_log), script=script, to_endpoint=to_endpoint)
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def calls(self, tool: str | None = None) -> list[dict[str, Any]]:
        """What fake tools were called with: `argv`, `stdin`, `files` (mode and text), `kubeconfig`, `server`."""
        lines = self.tool_log.read_text().splitlines() if self.tool_log.exists() else []
        calls = [json.loads(line) for line in lines]
        return [call for call in calls if tool is None or Path(call["argv"][0]).name == tool]

    def file(self, *parts: str, text: str = "") -> Path:
        """Write a file in the sandbox."""
        path = self.sandbox.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path
