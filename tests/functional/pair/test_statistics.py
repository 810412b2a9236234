"""HAProxy's statistics: for those that the definition names, and for reading alone."""

from __future__ import annotations

import http.client
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.node.conftest import Minion
from tests.functional.pair.conftest import seconds_until


@pytest.fixture
def bind() -> str:
    """An address that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def page(minion: Minion, tmp_path: Path, bind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the statistics are, while a HAProxy runs that lets these networks read them."""
    config = tmp_path / "haproxy.cfg"
    config.write_text(minion.call("haproxy.text", [], [], stats={"bind": bind, "allow": request.param}))
    with subprocess.Popen(["haproxy", "-db", "-f", str(config)], stderr=subprocess.DEVNULL) as haproxy:
        try:
            seconds_until(lambda: listens(bind))
            yield bind
        finally:
            haproxy.terminate()


def listens(bind: str) -> bool:
    host, _, port = bind.rpartition(":")
    with socket.socket() as line:
        return line.connect_ex((host, int(port))) == 0


def asked(bind: str, path: str = "/") -> tuple[int, bytes]:
    """Status and body of the answer."""
    connection = http.client.HTTPConnection(bind, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("page", [[], ["192.0.2.0/24", "127.0.0.0/8"]], indirect=True)
def test_who_is_named_reads_them(page: str) -> None:
    assert [asked(page, path)[0] for path in ("/", "/metrics")] == [200, 200]


@pytest.mark.parametrize("page", [["192.0.2.0/24"]], indirect=True)
def test_others_do_not(page: str) -> None:
    assert [asked(page, path)[0] for path in ("/", "/metrics")] == [403, 403]


@pytest.mark.parametrize("page", [[]], indirect=True)
def test_nobody_changes_anything_by_them(page: str) -> None:
    assert b"Choose the action to perform" not in asked(page)[1]
