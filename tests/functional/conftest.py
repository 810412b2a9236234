"""What all functional tests share: a machine that is afterwards as it was before."""

from collections.abc import Iterator

import pytest

from lab.down import down
from lab.nodes.machines import NspawnMachines
from lab.paths import Paths
from lab.services import Services


@pytest.fixture(scope="session", autouse=True)
def the_lab_stays_as_it_was() -> Iterator[None]:
    """Scratch nodes need the lab's network and disk: what was not there before is taken away again."""
    paths = Paths.from_environment()
    was_there = paths.lab.is_dir()
    yield
    if not was_there and paths.lab.is_dir() and not Services(paths).names() and not NspawnMachines(paths).running_ids():
        down(paths, lambda line: None)
