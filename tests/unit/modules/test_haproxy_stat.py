"""What HAProxy says of its servers, read from what a real one said (2.6.12, `show stat`)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.salt_node import Node

CAPTURED = Path(__file__).parent / "captured" / "haproxy-2.6.12-show-stat.csv"


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path, {}, ["haproxy"], minion_id="saw-k8s-ha-01")


def test_servers_with_their_states_and_neither_frontends_nor_sums(node):
    found = node.salt["haproxy.parse_stat"](CAPTURED.read_text())
    assert [(row["backend"], row["server"], row["status"]) for row in found] == [
        *(("kubernetes-api", f"saw-k8s-m-0{n}", "UP") for n in (1, 2, 3)),
        *(("kubernetes-api-last-resort", f"saw-k8s-m-0{n}", "no check") for n in (1, 2, 3)),
    ]
    assert found[1] == {
        "backend": "kubernetes-api", "server": "saw-k8s-m-02", "address": "192.168.100.152:6443", "status": "UP",
        "check": "Layer7 check passed",
    }  # fmt: skip


def test_no_haproxy_is_said_with_what_to_type(node, tmp_path):
    with pytest.raises(CommandExecutionError, match=r"no HAProxy answers on .*none\.sock .*systemctl status haproxy"):
        node.salt["haproxy.servers"](tmp_path / "none.sock")


@pytest.fixture
def asked(tmp_path) -> Iterator[Asked]:
    """A socket that answers as HAProxy does: one answer a connection, the last one for ever."""
    with Asked(tmp_path / "stats.sock") as socket_:
        yield socket_


class Asked:
    """Statistics sockets' side of a conversation; ``answers`` are told one after the other."""

    def __init__(self, path: Path) -> None:
        self.path, self.answers, self.told = path, [CAPTURED.read_text()], 0
        self._line = socket.socket(socket.AF_UNIX)

    def _answer(self) -> None:
        while True:
            try:
                asking, _ = self._line.accept()
            except OSError:
                return
            with asking:
                assert asking.recv(100) == b"show stat\n"
                asking.sendall(self.answers[min(self.told, len(self.answers) - 1)].encode())
                self.told += 1

    def __enter__(self) -> Asked:
        self._line.bind(str(self.path))
        self._line.listen()
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *err: object) -> None:
        self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()
        self._thread.join(timeout=5)


def without(server: str) -> str:
    """What HAProxy says when a server of the API is down."""
    lines = [
        line.replace(",UP,", ",DOWN,") if line.startswith(f"kubernetes-api,{server},") else line
        for line in CAPTURED.read_text().splitlines()
    ]
    assert sum(",DOWN," in line for line in lines) == 1
    return "\n".join(line for line in lines if not line.startswith("kubernetes-api-last-resort"))


def test_servers_that_are_up_are_not_waited_for(node, asked):
    names = ["saw-k8s-m-01", "saw-k8s-m-03"]
    assert node.salt["haproxy.wait_up"](asked.path, names, deadline_s=0) == names
    assert asked.told == 1


def test_a_server_that_comes_up_is_waited_for(node, asked):
    asked.answers = [without("saw-k8s-m-02"), without("saw-k8s-m-02"), CAPTURED.read_text()]
    assert node.salt["haproxy.wait_up"](asked.path, ["saw-k8s-m-02"], deadline_s=30) == ["saw-k8s-m-02"]
    assert asked.told == 3


def test_a_server_that_stays_down_is_named_with_its_last_check(node, asked):
    asked.answers = [without("saw-k8s-m-02")]
    told = r"nothing after 0 s: saw-k8s-m-02 is DOWN \(Layer7 check passed\)$"
    with pytest.raises(CommandExecutionError, match=told):
        node.salt["haproxy.wait_up"](asked.path, ["saw-k8s-m-02"], deadline_s=0)


def test_without_names_one_server_is_enough(node, asked):
    asked.answers = [without("saw-k8s-m-02")]
    assert node.salt["haproxy.wait_up"](asked.path, deadline_s=0) == ["saw-k8s-m-01", "saw-k8s-m-03"]
    asked.answers = [asked.answers[0].replace(",UP,", ",DOWN,")]
    with pytest.raises(CommandExecutionError, match=r"saw-k8s-m-01 is DOWN .*saw-k8s-m-03 is DOWN"):
        node.salt["haproxy.wait_up"](asked.path, deadline_s=0)


def test_a_name_that_is_no_server_is_told(node, asked):
    with pytest.raises(CommandExecutionError, match="saw-k8s-m-09 is no server of it"):
        node.salt["haproxy.wait_up"](asked.path, ["saw-k8s-m-01", "saw-k8s-m-09"], deadline_s=0)


def test_a_haproxy_that_does_not_answer_is_asked_again_until_the_deadline(node, tmp_path):
    with pytest.raises(CommandExecutionError, match="no HAProxy answers on"):
        node.salt["haproxy.wait_up"](tmp_path / "none.sock", deadline_s=0)
