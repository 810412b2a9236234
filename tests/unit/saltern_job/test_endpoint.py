"""Whether somebody answers at the endpoint: asked of real TLS servers on loopback."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from saltern.endpoint import unready
from saltern.model import Endpoint

LOOPBACK = IPv4Address("127.0.0.1")


@contextmanager
def api_server(directory: Path, statuses: list[int]) -> Iterator[Endpoint]:
    """A server with a certificate of nobody's, which answers /readyz with these statuses, the last one on and on."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """A test's output has no use for it."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(directory))
    server = http.server.ThreadingHTTPServer((str(LOOPBACK), 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield Endpoint(LOOPBACK, server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


def certificate(directory: Path) -> Path:
    """A key and its self-signed certificate in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kube-apiserver")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(today).not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("10.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / "server.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_ready_api_server_is_believed_whatever_its_certificate(tmp_path: Path) -> None:
    with api_server(tmp_path, [200]) as endpoint:
        assert unready(endpoint, 0) == ""


def test_one_that_is_not_ready_is_told(tmp_path: Path) -> None:
    with api_server(tmp_path, [500]) as endpoint:
        assert unready(endpoint, 0) == "HTTP 500 from /readyz"


def test_one_that_becomes_ready_in_time_is_waited_for(tmp_path: Path) -> None:
    with api_server(tmp_path, [503, 200]) as endpoint:
        assert unready(endpoint, 5) == ""


def test_nobody_at_the_endpoint_is_told(tmp_path: Path) -> None:
    with api_server(tmp_path, [200]) as endpoint:
        pass
    begin = time.monotonic()
    assert "refused" in unready(endpoint, 0)
    assert time.monotonic() - begin < 3
