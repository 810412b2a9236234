"""A real salt-master, the emulated Proxmox over TLS, and the real salt-cloud between them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).parents[3]
SALT_CLOUD = Path(sys.executable).with_name("salt-cloud")
NAMES = ("cloud-ha", "cloud-m", "cloud-w")

CLUSTER_SLS: dict[str, Any] = {
    "cluster": {
        "name": "clouds",
        "network": {"cidr": "192.168.100.0/24", "gateway": "192.168.100.1", "dns": ["192.168.100.1"]},
        "worker_range": "192.168.100.160-192.168.100.161",
    },
    "nodes": {
        "cloud-ha": {"role": "load_balancer", "address": "192.168.100.150", "cpus": 2, "memory_gib": 4, "disk_gib": 20},
        "cloud-m": {"role": "control_plane", "address": "192.168.100.151", "cpus": 2, "memory_gib": 8, "disk_gib": 20},
        "cloud-w": {"role": "worker", "address": "192.168.100.154", "cpus": 2, "memory_gib": 16, "disk_gib": 20},
    },
    "operator": {"user": "k8s", "group": "k8s", "ssh_keys": ["ssh-ed25519 AAAAC3Nza+C1/lZDI1 operator@desk"]},
    "master": {"address": "127.0.0.1"},
    "metallb": {"pools": {"default": ["192.168.100.200-192.168.100.220"]}},
    "artefacts": {"disabled": ["k9s", "cilium-cli", "etcdctl"]},
}
# Sums of files that nothing here downloads: the shipped definition may leave them to the operator.
VERSIONS_SLS = {"artefacts": {chart: {"sha256": {"any": "0" * 64}} for chart in ("cilium-chart", "metallb-chart")}}
QUICK = {
    "durations": dict.fromkeys(("config_s", "linked_clone_s", "full_clone_s", "start_s", "stop_s", "resize_s"), 0.02),
    "limits": {"unauthorized_s": 0.1, "statistics_s": 1.0},
}


@dataclass
class Proxmox:
    """The emulator: where it listens, whom it trusts, what it wrote."""

    port: int
    state: Path
    machines: Path

    @property
    def ca_file(self) -> Path:
        """The certificate of its own authority."""
        return next(path for path in sorted((self.state / "ca").iterdir()) if path.suffix in (".pem", ".crt"))

    @property
    def password(self) -> str:
        """The password of saltern@pve, the user with the least privileges."""
        return (self.state / "credentials" / "saltern@pve.password").read_text().strip()

    @property
    def token(self) -> tuple[str, str]:
        """(user@realm!name, secret) of that user's token."""
        name, _, secret = (self.state / "credentials" / "saltern@pve!salt.token").read_text().strip().partition("=")
        return name, secret

    def images(self) -> list[str]:
        """ISO images on the storage `local`."""
        return sorted(path.name for path in self.state.rglob("*.iso"))


@dataclass
class Result:
    """What a command printed and how it ended."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def data(self) -> Any:
        """Its JSON output."""
        return json.loads(self.stdout)


@pytest.fixture(scope="session")
def cloud_root() -> Iterator[Path]:
    """A short path: sockets below it must fit into 107 bytes."""
    root = Path(tempfile.mkdtemp(prefix="saltern-cloud-"))
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def cloud_pillar(cloud_root: Path) -> list[str]:
    """The shipped versions, a small table, and sums of the charts."""
    base, overlay = cloud_root / "pillar", cloud_root / "overlay"
    for directory in (base, overlay):
        directory.mkdir()
    shutil.copy(CHECKOUT / "pillar" / "versions.sls", base)
    (base / "cluster.sls").write_text(yaml.safe_dump(CLUSTER_SLS, sort_keys=False))
    (overlay / "versions.sls").write_text(yaml.safe_dump(VERSIONS_SLS))
    return [str(base), str(overlay)]


@pytest.fixture(scope="session")
def cloud_master(salt_factories: Any, cloud_root: Path, cloud_pillar: list[str]) -> Iterator[Any]:
    """A salt-master that accepts no key by itself."""
    settings = {
        "module_dirs": [str(CHECKOUT / "salt")],
        "saltern": {"pillar_dirs": cloud_pillar, "state_dir": str(cloud_root / "state")},
        "auto_accept": False,
        "open_mode": False,
        "worker_threads": 3,
    }
    daemon = salt_factories.salt_master_daemon(
        "cloud-master", defaults={"root_dir": str(cloud_root / "master")}, overrides=settings
    )
    with daemon.started():
        yield daemon


@pytest.fixture(scope="session")
def proxmox(cloud_root: Path, cloud_master: Any) -> Iterator[Proxmox]:
    """The emulator as a process of its own, with machines that run a minion from their seed."""
    state, machines, settings = cloud_root / "pve", cloud_root / "machines", cloud_root / "pve.json"
    machines.mkdir()
    settings.write_text(json.dumps(QUICK))
    port = _free_port()
    environment = os.environ | {
        "PYTHONPATH": str(CHECKOUT),
        "SALTERN_TEST_MACHINES": str(machines),
        "SALTERN_TEST_MASTER_PORT": str(cloud_master.config["ret_port"]),
    }
    command = [sys.executable, "-m", "lab.proxmox", "--state", state, "--port", str(port), "--settings", settings]
    with (cloud_root / "pve.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--machines", "tests.integration.cloud.machines:SeededMachines"],
            cwd=CHECKOUT,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        _wait_until_it_listens(port, process, cloud_root / "pve.log")
        yield Proxmox(port, state, machines)
    finally:
        process.terminate()
        process.wait(30)
        for pid_file in machines.glob("*/pid"):
            _end_minion(int(pid_file.read_text()), pid_file.parent)


@pytest.fixture(scope="session")
def provider(proxmox: Proxmox) -> dict[str, Any]:
    """The provider file of document 3."""
    return {
        "user": "saltern@pve",
        "password": proxmox.password,
        "url": "127.0.0.1",
        "port": proxmox.port,
        "driver": "proxmox",
        "verify_ssl": str(proxmox.ca_file),
        "answer_timeout_s": 120,
    }


@pytest.fixture
def salt_cloud(cloud_master: Any, provider: dict[str, Any]) -> Iterator[Callable[..., Result]]:
    """salt_cloud("-Q") runs the real command; provider_changes replaces keys of its file (None removes), provider_file
    all of it; trusted is an authority that the whole machine trusts.
    """
    directory = Path(cloud_master.config_dir)
    providers, profiles = directory / "cloud.providers.d", directory / "cloud.profiles.d"
    providers.mkdir(exist_ok=True)
    if not profiles.is_symlink():
        profiles.symlink_to(CHECKOUT / "cloud.profiles.d")
    quiet = {"log_granular_levels": {"salt.minion": "error"}}  # as docs/production.md has it
    (directory / "cloud").write_text(yaml.safe_dump({"log_level_logfile": "debug"} | quiet))

    def run(
        *arguments: str,
        provider_changes: dict[str, Any] | None = None,
        provider_file: str | None = None,
        trusted: Path | None = None,
        as_json: bool = True,
    ) -> Result:
        settings = {key: value for key, value in (provider | (provider_changes or {})).items() if value is not None}
        (providers / "proxmox.conf").write_text(provider_file or yaml.safe_dump({"my-proxmox-config": settings}))
        form = ["--out=json"] if as_json else []
        machine = {"REQUESTS_CA_BUNDLE": str(trusted)} if trusted else {}
        done = subprocess.run(
            [SALT_CLOUD, "-c", directory, *arguments, *form],
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | machine,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    yield run
    shutil.rmtree(providers)


@pytest.fixture
def killed_while(cloud_master: Any) -> Callable[[str, list[str]], None]:
    """killed_while("waiting", ["-p", ..]) runs salt-cloud and kills it as soon as it says so."""

    def run(said: str, arguments: list[str]) -> None:
        process = subprocess.Popen(
            [SALT_CLOUD, "-c", cloud_master.config_dir, *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        assert process.stderr
        heard = []
        for line in process.stderr:
            heard.append(line.decode())
            if said in heard[-1]:
                break
        else:
            pytest.fail(f"salt-cloud never said {said!r}:\n{''.join(heard)}")
        process.kill()
        process.communicate()

    return run


@pytest.fixture(scope="session")
def accepted_keys(cloud_master: Any) -> Callable[[], list[str]]:
    """The minions whose keys the master has accepted."""
    directory = Path(cloud_master.config["pki_dir"]) / "minions"
    return lambda: sorted(path.name for path in directory.glob("cloud-*"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """The emulator makes keys and certificates before it listens, and tells nobody when it does."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for _ in range(300):
        if process.poll() is not None:
            pytest.fail(f"the emulator ended:\n{log.read_text()}")
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as raw, context.wrap_socket(raw):
                return
        except OSError:
            signal.sigtimedwait([], 0.1)
    pytest.fail(f"the emulator does not listen:\n{log.read_text()}")


def _end_minion(pid: int, root: Path) -> None:
    """End a minion that its machine left running; its command line names the root, a reused PID's does not."""
    command_line = Path(f"/proc/{pid}/cmdline")
    if command_line.exists() and str(root).encode() in command_line.read_bytes():
        os.kill(pid, signal.SIGTERM)
