"""What all tests share: how they are spread over processes, and a quiet end."""

from __future__ import annotations

import sys
from typing import Any

import pytest

# Files below one of these run in one process, one after another: they share what a run has once (the lab's network and
# disk, a port) or what takes long to start (an API server, a Salt master). All others go by the file. A place comes
# after the places in it.
TOGETHER = (
    "tests/functional/kubernetes/",
    "tests/functional/",
    "tests/integration/cloud/",
    "tests/integration/jobs/",
)
# Groups that take minutes, the longest first: they begin first, or one process would still be at work on its own when
# all others have nothing left to do.
LONG = (
    "tests/integration/jobs/",
    "tests/functional/",
    "tests/integration/proxmox/test_worst.py",
    "tests/integration/cloud/",
    "tests/functional/kubernetes/",
)


def together(nodeid: str) -> str:
    """What a test runs together with: the first entry of TOGETHER that holds its file, else its file."""
    path = nodeid.partition("::")[0]
    return next((place for place in TOGETHER if path.startswith(place)), path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Called by pytest-xdist (`pytest -n 2`)."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        """Hands whole groups to a process that is free: those of LONG first, then those of most tests."""

        def _split_scope(self, nodeid: str) -> str:
            return together(nodeid)

        def _assign_work_unit(self, node: Any) -> None:
            if waiting := [place for place in LONG if place in self.workqueue]:
                self.workqueue.move_to_end(waiting[0], last=False)
            super()._assign_work_unit(node)

    return Together(config, log)


def pytest_sessionfinish() -> None:
    """Salt keeps log records for a console that it would write at the end; pytest's, for one, is closed by then."""
    if logging := sys.modules.get("salt._logging.impl"):
        logging.shutdown_temp_handler()
