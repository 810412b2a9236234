"""haproxy.configured: accepted by the real HAProxy, and carried by it to real TLS servers."""

from __future__ import annotations

import datetime
import http.server
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.functional.node.conftest import Minion

DEADLINE_S = 30


def settings(
    bind: str, servers: dict[str, str], ca_path: str, stats: str | None = None, ask: Path | None = None
) -> dict[str, Any]:
    listed = [{"name": name, "address": address} for name, address in servers.items()]
    return {
        "frontends": [{"name": "kubernetes-api", "bind": bind, "backend": "kubernetes-api"}],
        "backends": [{"name": "kubernetes-api", "check": "api", "servers": listed}],
        "ca_path": ca_path,
        "stats": {"bind": stats} if stats else None,
        "socket": str(ask) if ask else None,
    }


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "haproxy/haproxy.cfg"
    path.parent.mkdir()
    path.write_text("# the package's\n")
    return path


def test_configuration_has_what_the_api_needs(minion: Minion, tmp_path: Path, config: Path, backups: list[str]) -> None:
    wanted = settings("127.0.0.1:6443", {"m1": "127.0.0.1:7443", "m2": "127.0.0.2:7443"}, str(tmp_path / "ca.crt"))
    done = minion.settle("haproxy.configured", settings=wanted, backups=backups, config=str(config))
    assert "servers not verified before" in done["comment"]
    text = config.read_text()
    for line in (
        "timeout client 4h", "timeout server 4h", "timeout tunnel 4h", "option httpchk", "http-check connect ssl",
        "http-check send meth GET uri /readyz", "http-check expect status 200", "server m2 127.0.0.2:7443",
        "default-server check inter 2s fastinter 500ms fall 3 rise 2 on-marked-down shutdown-sessions verify none",
        "bind 127.0.0.1:6443",
    ):  # fmt: skip
        assert f"  {line}\n" in text
    assert config.stat().st_mode & 0o777 == 0o644


def test_the_clusters_ca_is_used_once_it_is_there(
    minion: Minion, tmp_path: Path, config: Path, backups: list[str]
) -> None:
    authority = Authority(tmp_path)
    wanted = settings("127.0.0.1:6443", {"m1": "127.0.0.1:7443"}, str(tmp_path / "ca.crt"))
    (tmp_path / "ca.crt").write_text("")
    minion.settle("haproxy.configured", settings=wanted, backups=backups, config=str(config))
    authority.write_ca(tmp_path / "ca.crt")
    done = minion.settle("haproxy.configured", settings=wanted, backups=backups, config=str(config))
    assert "servers verified by" in done["comment"]
    assert f"verify required ca-file {tmp_path}/ca.crt verifyhost kubernetes" in config.read_text()


def test_a_configuration_that_haproxy_refuses_is_not_put_in_place(
    minion: Minion, tmp_path: Path, config: Path, backups: list[str]
) -> None:
    wanted = settings("no-such-host.invalid:6443", {"m1": "127.0.0.1:7443"}, str(tmp_path / "ca.crt"))
    done = minion.apply("haproxy.configured", settings=wanted, backups=backups, config=str(config))
    assert done["result"] is False
    assert "haproxy -c refuses the configuration, the old one stays" in done["comment"]
    assert config.read_text() == "# the package's\n"
    assert [path.name for path in config.parent.iterdir()] == ["haproxy.cfg"]


def test_the_packages_configuration_comes_back(
    minion: Minion, tmp_path: Path, config: Path, backups: list[str]
) -> None:
    wanted = settings("127.0.0.1:6443", {"m1": "127.0.0.1:7443"}, str(tmp_path / "ca.crt"))
    minion.apply("haproxy.configured", settings=wanted, backups=backups, config=str(config))
    minion.settle("haproxy.restored", backups=backups, config=str(config))
    assert config.read_text() == "# the package's\n"


class Authority:
    """A certificate authority and servers' certificates."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
        self.certificate = self._sign(self.name, self.key, [x509.BasicConstraints(ca=True, path_length=None)])

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extensions: list[Any]) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(self.name, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self.key, hashes.SHA256())

    def write_ca(self, path: Path) -> None:
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def server_context(self, name: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
        certificate = self._sign(subject, key, [x509.SubjectAlternativeName([x509.DNSName(name)])])
        chain = self.root / f"{name}.pem"
        chain.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context


class ApiServer:
    """Answers /readyz over TLS with `status`."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.status = 200
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(api.status if self.path == "/readyz" else 404)
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                """Keep the tests' output clean."""

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_args: Any) -> None:
                """A refused certificate ends a connection; that is what is tested."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def servers(authority: Authority) -> Iterator[dict[str, ApiServer]]:
    """An API server with the certificate that kubeadm makes, and one with another name in it."""
    running = {
        "good": ApiServer(authority.server_context("kubernetes")),
        "bad": ApiServer(authority.server_context("x")),
    }
    yield running
    for server in running.values():
        server.close()


def server_states(minion: Minion, ask: Path) -> dict[str, str]:
    """{server: UP | DOWN ...} of the backend with the checks, as HAProxy's own socket tells."""
    told = minion.call("haproxy.servers", str(ask))
    assert all(row["address"].startswith("127.0.0.1:") for row in told)
    return {row["server"]: row["status"] for row in told if row["backend"] == "kubernetes-api"}


def test_only_ready_servers_with_the_apis_certificate_get_requests(
    minion: Minion,
    tmp_path: Path,
    config: Path,
    backups: list[str],
    authority: Authority,
    servers: dict[str, ApiServer],
) -> None:
    authority.write_ca(tmp_path / "ca.crt")
    addresses = {name: server.address for name, server in servers.items()}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        bind = f"127.0.0.1:{free.getsockname()[1]}"
    ask = tmp_path / "ask.sock"
    wanted = settings(bind, addresses, str(tmp_path / "ca.crt"), ask=ask)
    done = minion.apply("haproxy.configured", settings=wanted, backups=backups, config=str(config))
    assert done["result"] is True, done
    program = shutil.which("haproxy")
    assert program, "haproxy is a package that make test installs"
    with subprocess.Popen([program, "-db", "-f", str(config)], stderr=subprocess.DEVNULL) as haproxy:
        try:
            deadline = time.monotonic() + DEADLINE_S
            states: dict[str, str] = {}
            # Health checks come every 2 s; HAProxy has no way to be told to check at once.
            while states != {"good": "UP", "bad": "DOWN"} and time.monotonic() < deadline:
                time.sleep(0.1)
                states = server_states(minion, ask) if ask.exists() else {}
            assert states == {"good": "UP", "bad": "DOWN"}
            assert ask.stat().st_mode & 0o777 == 0o600
            assert minion.call("haproxy.version", str(ask))[0].isdigit()
            plain = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
            plain.check_hostname = False
            host, port = bind.split(":")
            with socket.create_connection((host, int(port))) as raw, plain.wrap_socket(raw) as tls:
                tls.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
                assert tls.recv(64).startswith(b"HTTP/1.0 200")
            servers["good"].status = 500
            while states["good"] != "DOWN" and time.monotonic() < deadline:
                time.sleep(0.1)
                states = server_states(minion, ask)
            assert states == {"good": "DOWN", "bad": "DOWN"}
        finally:
            haproxy.terminate()
