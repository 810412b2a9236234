"""Services: started until they listen, recognised, ended. The services here are small programs on loopback."""

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab import network, services
from lab.errors import LabError
from lab.paths import Paths
from lab.services import Service, Services, listening_ports
from lab.shell import run

LISTEN = (
    "import socket,signal,sys; s=socket.socket(); s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen(); signal.pause()"
)


def on_this_machine(argv: Sequence[str | Path]) -> list[str]:
    return [str(word) for word in argv]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    """Services outside of the lab's network namespace."""
    monkeypatch.setattr(network, "inside", on_this_machine)
    paths = Paths(state=tmp_path / "state", cache=tmp_path / "cache")
    return Services(paths, listening=lambda: listening_ports(run(["ss", "-Hltn"])))


@pytest.fixture
def port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listener(port: int) -> Service:
    return Service("listener", [sys.executable, "-c", LISTEN, str(port)], (port,))


def test_a_service_is_up_when_it_listens_and_is_not_started_twice(lab: Services, port: int) -> None:
    try:
        assert lab.start(listener(port))
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        assert lab.running("listener")
        assert not lab.start(listener(port))
        assert lab.names() == ["listener"]
    finally:
        assert lab.stop("listener")
    assert not lab.running("listener")
    assert lab.names() == []
    assert not lab.stop("listener")


def test_a_service_that_ends_is_named_with_its_last_words(lab: Services, port: int) -> None:
    broken = Service("broken", ["sh", "-c", "echo no such option >&2; exit 3"], (port,))
    with pytest.raises(LabError, match=r"broken ended with exit code 3 \(.*broken\.log says why\): no such option"):
        lab.start(broken)
    assert lab.names() == []


def test_a_service_that_does_not_listen_is_ended_at_the_deadline(
    lab: Services, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "START_DEADLINE_S", 0.3)
    with pytest.raises(LabError, match=r"deaf does not listen \(.*deaf\.log says why\): it has written nothing"):
        lab.start(Service("deaf", ["sleep", "60"], (port,)))
    assert not lab.running("deaf")


def test_a_port_that_somebody_else_has_is_named(lab: Services, port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(LabError, match=f"listener: port {port} in the lab's network is taken"):
            lab.start(listener(port))


def test_a_service_sees_its_own_environment_only(lab: Services, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SHELL", "x")
    with pytest.raises(LabError):
        lab.start(Service("env", ["env"], (port,), {"SALTERN_STATE": "/s"}))
    text = lab.log("env").read_text()
    assert "SALTERN_STATE=/s" in text
    assert "SECRET_OF_THE_SHELL" not in text


def test_listening_ports_are_read() -> None:
    text = "LISTEN 0 511 192.168.100.1:8080 0.0.0.0:*\nLISTEN 0 128 [::1]:22 [::]:*\n"
    assert listening_ports(text) == {8080, 22}
