"""A real API server on the loopback interface: etcd, kube-apiserver, certificates by kubeadm. No node, no scheduler.

What the modules do to the API is tested against it; what pods then do is the lab cluster's matter (tests/cluster).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.salt_node import Node
from tests.unit.modules.member import MODULES, pillar

START_S = 90


def tool(name: str) -> Path:
    """Find a component of Kubernetes: $SALTERN_TEST_TOOLS, then the newest that the lab has built or fetched."""
    places = [Path(place) / name for place in filter(None, [os.environ.get("SALTERN_TEST_TOOLS")])]
    cache = Path(os.environ.get("SALTERN_CACHE", "/var/cache/saltern"), "artefacts")
    places += sorted(cache.glob(f"*/{name}"), key=lambda path: path.stat().st_mtime, reverse=True)
    found = [place for place in places if place.is_file() and os.access(place, os.X_OK)]
    if not found:
        pytest.fail(f"{name} is not in {cache}/*/ nor in $SALTERN_TEST_TOOLS: type `make build`", pytrace=False)
    return found[0]


def chart(name: str) -> Path:
    """Find a chart archive that the lab has built or fetched."""
    cache = Path(os.environ.get("SALTERN_CACHE", "/var/cache/saltern"), "artefacts")
    found = sorted(cache.glob(f"*/{name}-*.tgz"), key=lambda path: path.stat().st_mtime)
    if not found:
        pytest.fail(f"{name} chart is not in {cache}/*/: type `make build`", pytrace=False)
    return found[-1]


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class ApiServer:
    """The running API server and the node that its admin.conf is on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port, self.etcd_port = free_port(), free_port()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.node = self._node()
        self.etc = self.node.sandbox / "etc" / "kubernetes"

    def _node(self) -> Node:
        own: dict[str, Any] = pillar("control_plane")
        saltern = own["saltern"]
        saltern["cluster"]["endpoint"] = {"address": "127.0.0.1", "port": self.port}
        saltern["kubeadm"]["cluster"]["controlPlaneEndpoint"] = f"127.0.0.1:{self.port}"
        saltern["kubeadm"]["cluster"]["certificatesDir"] = str(self.root / "sandbox" / "etc" / "kubernetes" / "pki")
        saltern["kubeadm"]["cluster"]["apiServer"] = {"certSANs": ["127.0.0.1"]}
        node = Node(self.root, own, [*MODULES, "manifest", "helm_release"])
        for name in ("kubeadm", "kubectl", "helm"):
            (node.sandbox / "bin" / name).symlink_to(tool(name))
        vars(node.modules["kubeadm_run"])["RUN_DIRECTORY"] = str(self.root / "run")
        return node

    def start(self) -> None:
        """Make certificates, start etcd and the API server, give the administrator his rights."""
        (self.etc / "pki").mkdir(parents=True)
        kubeadm = self.node.pillar["saltern"]["kubeadm"]
        config = self.root / "config.yaml"
        config.write_text(yaml.safe_dump_all([kubeadm["init"], kubeadm["cluster"]]))
        for phase in (["certs", "all"], ["kubeconfig", "admin"], ["kubeconfig", "super-admin"]):
            where = [f"--kubeconfig-dir={self.etc}"] if phase[0] == "kubeconfig" else []
            self._run("kubeadm", "init", "phase", *phase, f"--config={config}", *where)
        self._spawn("etcd", *self._etcd_flags())
        self._spawn("kube-apiserver", *self._api_flags())
        self._wait()
        binding = ["create", "clusterrolebinding", "kubeadm:cluster-admins", "--clusterrole=cluster-admin"]
        self._run("kubectl", f"--kubeconfig={self.etc}/super-admin.conf", *binding, "--group=kubeadm:cluster-admins")

    def _etcd_flags(self) -> list[str]:
        url = f"http://127.0.0.1:{self.etcd_port}"
        return [
            f"--data-dir={self.root}/etcd",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls=http://127.0.0.1:{free_port()}",
            "--unsafe-no-fsync",
        ]

    def _api_flags(self) -> list[str]:
        pki = self.etc / "pki"
        return [
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=192.0.2.1",
            f"--secure-port={self.port}",
            "--service-cluster-ip-range=10.0.0.0/14",
            f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--service-account-key-file={pki}/sa.pub",
            f"--service-account-signing-key-file={pki}/sa.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=Node,RBAC",
            "--enable-bootstrap-token-auth=true",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=none",
        ]

    def _run(self, name: str, *args: str) -> None:
        subprocess.run([tool(name), *args], check=True, capture_output=True, text=True, timeout=60)

    def _spawn(self, name: str, *args: str) -> None:
        log = (self.root / f"{name}.log").open("wb")
        self.processes.append(subprocess.Popen([tool(name), *args], stdout=log, stderr=log))

    def _wait(self) -> None:
        """Until /readyz says yes; a start takes seconds, on a loaded machine tens of them."""
        ask = [tool("kubectl"), f"--kubeconfig={self.etc}/super-admin.conf", "get", "--raw=/readyz"]
        deadline = time.monotonic() + START_S
        while subprocess.run(ask, capture_output=True, check=False).returncode:
            if time.monotonic() > deadline:
                pytest.fail((self.root / "kube-apiserver.log").read_text()[-2000:], pytrace=False)
            time.sleep(0.5)

    def stop(self) -> None:
        """End both processes, the API server first."""
        for process in reversed(self.processes):
            process.terminate()
            process.wait(timeout=30)

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """Run kubectl as the administrator, by no module of ours."""
        command = [tool("kubectl"), f"--kubeconfig={self.etc}/admin.conf", *args]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout


@pytest.fixture(scope="session", autouse=True)
def the_lab_stays_as_it_was() -> None:
    """In place of the fixture of all functional tests: these here have no nodes, and may run beside those that do."""


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """The one API server of a test run."""
    root = tmp_path_factory.mktemp("api-server")
    server = ApiServer(root)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def node(api_server: ApiServer) -> Node:
    """The control-plane node of the API server, out of test mode."""
    api_server.node.opts["test"] = False
    return api_server.node
