"""A fake Proxmox on the wire, the shipped definition, and a master's side that lives in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from saltern import definition
from saltern.model import Cluster
from saltern.proxmox import settings as provider_settings
from saltern.proxmox.api import Proxmox
from saltern.proxmox.create import Creation, Limits, Order
from saltern.proxmox.journal import Journal
from saltern.proxmox.placement import Placement, Profile
from saltern.proxmox.seed import Operator
from saltern.rows import Rows
from tests.unit.clouds.fake_proxmox import PASSWORD, USER, FakeProxmox, Guest, Server, certificate

PILLAR = Path(__file__).parents[3] / "pillar"
SSH_KEY = "ssh-ed25519 AAAAC3Nza+C1/lZDI1NTE5AAAA operator@desk"


class FakeMinions:
    """The master's side: keys by name, and whether a started minion answers."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}
        self.answers = True
        self.made = 0
        self.accepted_at_start: str | None = None
        self.on_answer: Callable[[], object] = bool

    def ready(self, name: str) -> None:
        pass

    def new_keys(self) -> tuple[str, str]:
        self.made += 1
        return f"PRIVATE KEY {self.made}\n", f"PUBLIC KEY {self.made}\n"

    def accepted(self, name: str) -> str | None:
        return self.keys.get(name)

    def accept(self, name: str, public_key: str) -> None:
        self.keys[name] = public_key

    def forget(self, name: str) -> None:
        self.keys.pop(name, None)

    def master_public_key(self) -> str:
        return "MASTER PUBLIC KEY\n"

    @contextmanager
    def listening(self, name: str) -> Iterator[Callable[[float], bool]]:
        yield self._answered

    def _answered(self, timeout_s: float) -> bool:
        self.on_answer()
        return self.answers


class Pauses(list[float]):
    """Collects how long the code would have slept."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def fake() -> FakeProxmox:
    return FakeProxmox()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server(fake: FakeProxmox, certificates: tuple[Path, Path]) -> Iterator[Server]:
    running = Server(fake, *certificates)
    yield running
    running.stop()


@pytest.fixture
def provider(server: Server) -> dict[str, Any]:
    """The provider file of document 3, with the fake's address and CA."""
    return {
        "user": USER,
        "password": PASSWORD,
        "url": "127.0.0.1",
        "port": server.port,
        "driver": "proxmox",
        "verify_ssl": str(server.ca_file),
    }


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def api(provider: dict[str, Any], pauses: Pauses) -> Iterator[Proxmox]:
    connection = Proxmox(provider_settings.read("my-proxmox-config", provider), pauses)
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def pillar_dirs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The shipped definition, with sums of files that nothing here downloads: it may leave them to the operator."""
    overlay = tmp_path_factory.mktemp("overlay")
    sums = {chart: {"sha256": {"any": "0" * 64}} for chart in ("cilium-chart", "metallb-chart")}
    (overlay / "versions.sls").write_text(yaml.safe_dump({"artefacts": sums}))
    return [PILLAR, overlay]


@pytest.fixture(scope="session")
def cluster(pillar_dirs: list[Path]) -> Cluster:
    return definition.load(pillar_dirs)


@pytest.fixture
def minions() -> FakeMinions:
    return FakeMinions()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "state" / "machines")


@pytest.fixture
def order() -> Order:
    return Order(Operator("k8s", "k8s", (SSH_KEY,)), "192.168.100.1", limits=Limits(answer_s=0))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def creation(
    api: Proxmox,
    order: Order,
    minions: FakeMinions,
    journal: Journal,
    tmp_path: Path,
    said: list[str],
    pauses: Pauses,
) -> Creation:
    def announce(name: str, step: str, what: str) -> None:
        said.append(f"{name}: {what}")

    return Creation(api, order, minions, journal, tmp_path / "state" / "slots", announce, pauses)


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    return Rows(tmp_path / "state", "saw-k8s")


@pytest.fixture
def place(
    api: Proxmox, cluster: Cluster, journal: Journal, rows: Rows, pillar_dirs: list[Path], tmp_path: Path
) -> Callable[..., Placement]:
    """place("worker") is the placement of a profile of that role."""

    def of(role: str, **size: int) -> Placement:
        def recheck() -> definition.Report:
            return definition.check([*pillar_dirs, tmp_path / "edited"], tmp_path / "state")

        return Placement(api, cluster, journal, rows, recheck, Profile(role, role, **size))

    return of


@pytest.fixture
def defined_guest() -> Callable[..., Guest]:
    """A machine as the driver leaves saw-k8s-w-01, with settings changed at will."""

    def make(**changes: Any) -> Guest:
        config = {
            "name": "saw-k8s-w-01",
            "sockets": 1,
            "cores": 2,
            "memory": "16384",
            "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0",
            "ipconfig0": "ip=192.168.100.154/24,gw=192.168.100.1",
            "scsi0": "local-lvm:vm-100-disk-0,size=20G",
            "tags": "saltern;saw-k8s;worker",
            "onboot": 1,
            "agent": "1",
        }
        return Guest(config | changes, running=True)

    return make
