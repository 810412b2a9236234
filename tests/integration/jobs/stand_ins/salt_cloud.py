"""Stand-in for salt-cloud: a machine is the directory of a minion, and its accepted key.

Called as ``salt_cloud.py STATE WORDS..``; STATE is a directory with ``machines.json`` ({name: its minion's directory}),
``pki`` (the master's) and, of machines that were destroyed, ``gone/NAME`` (the key). While ``hold`` is there no machine
is made. ``calls`` gets a line for each call.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

STATE = Path(sys.argv[1])
WORDS = [word for word in sys.argv[2:] if not word.startswith("--config-dir")]
GONE = STATE / "gone"
ACCEPTED, PENDING = STATE / "pki" / "minions", STATE / "pki" / "minions_pre"


def machines() -> dict[str, str]:
    """Those that are there."""
    known: dict[str, str] = json.loads((STATE / "machines.json").read_text())
    return {name: directory for name, directory in known.items() if not (GONE / name).exists()}


def listed() -> dict[str, object]:
    """The answer to a query."""
    there = {name: {"id": number, "state": "running"} for number, name in enumerate(machines(), 101)}
    return {"stand-in": {"proxmox": there}}


def destroy(name: str) -> dict[str, object]:
    """Its disk goes, its key is kept here for the new one: the minion that plays it is the same process."""
    shutil.rmtree(Path(machines()[name], "parts"), ignore_errors=True)
    shutil.move(ACCEPTED / name, GONE / name)
    return {"stand-in": {"proxmox": {name: {"removed": ["machine"]}}}}


def make(map_file: str) -> dict[str, object]:
    """The missing machines of a map, once nothing holds them."""
    text = Path(map_file).read_text()
    # The map of the whole table is a program.
    known = json.loads((STATE / "machines.json").read_text())
    names = known if text.startswith("#!py") else [name for names in json.loads(text).values() for name in names]
    while (STATE / "hold").exists():
        time.sleep(0.1)
    missing = [name for name in names if (GONE / name).exists()]
    for name in missing:
        shutil.move(GONE / name, ACCEPTED / name)
        (PENDING / name).unlink(missing_ok=True)
    return {name: {"id": 101, "state": "running"} for name in missing}


with (STATE / "calls").open("a") as log:
    log.write(" ".join(WORDS) + "\n")
match WORDS[0]:
    case "-d":
        answer = destroy(WORDS[2])
    case "-P":
        answer = make(WORDS[2])
    case _:
        answer = listed()
print(json.dumps(answer))
