"""The services' configuration, read by the services themselves."""

import socket
import subprocess
from pathlib import Path

import pytest
import yaml

from lab import installation
from lab.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(state=tmp_path / "the state", cache=tmp_path / "the cache")
    paths.mirror.mkdir(parents=True)
    return paths


def test_dnsmasq_accepts_its_configuration(paths: Paths) -> None:
    service = installation.dns(paths, {"saw-k8s-m-01": "192.168.100.151"})
    file = paths.lab / "etc/dnsmasq.conf"
    assert f"--conf-file={file}" in service.argv
    subprocess.run(["dnsmasq", "--test", f"--conf-file={file}"], check=True, capture_output=True)
    assert "host-record=saw-k8s-m-01,192.168.100.151" in file.read_text().splitlines()


def test_nginx_accepts_its_configuration(paths: Paths) -> None:
    # The bridge's address exists in the lab's network only: nginx -t would not find it.
    service = installation.mirror(paths)
    file = paths.lab / "etc/nginx.conf"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    file.write_text(file.read_text().replace("192.168.100.1:8080", f"127.0.0.1:{free}"))
    subprocess.run([*service.argv, "-t"], check=True, capture_output=True)


def test_the_registry_only_reads(paths: Paths) -> None:
    service = installation.registry(paths)
    config = yaml.safe_load(Path(service.argv[-1]).read_text())
    assert config["storage"]["filesystem"]["rootdirectory"] == str(paths.registry)
    assert config["storage"]["maintenance"]["readonly"]["enabled"] is True
    assert config["http"]["addr"] == "192.168.100.1:5000"


def test_every_service_is_in_the_order_of_the_start(paths: Paths) -> None:
    made = [
        installation.dns(paths, {}),
        installation.mirror(paths),
        installation.registry(paths),
        installation.proxmox(paths),
        installation.master(paths),
    ]
    assert tuple(service.name for service in made) == installation.NAMES


def test_programs_of_the_checkout_find_it(paths: Paths) -> None:
    for service in (installation.proxmox(paths), installation.master(paths)):
        assert service.environment["PYTHONPATH"] == str(paths.checkout)
        assert service.environment["SALTERN_STATE"] == str(paths.state)
