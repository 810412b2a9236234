"""A running API server on loopback, and clients for it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import uvicorn
from proxmoxer import ProxmoxAPI

from lab.proxmox import initial
from lab.proxmox.certificates import ensure_ca, ensure_server
from lab.proxmox.datacentre import Datacentre
from lab.proxmox.server import certificate_names, configuration, listen
from lab.proxmox.settings import Durations, Limits, Node, Settings
from tests.integration.proxmox.fake_machines import FakeMachines

# Of users that a test makes.
PHRASE = "secret-1"

QUICK = Durations(0, 0, 0, 0, 0, 0, 0, 0, 0)
IMPATIENT = Limits(
    guest_lock_s=2, clone_lock_s=0.2, storage_lock_s=0.2, shutdown_s=0.3, agent_s=0, unauthorized_s=0, stop_grace_s=0.2
)
SETTINGS = Settings(nodes=(Node("pve", "127.0.0.1"), Node("pve2", "127.0.0.2")), durations=QUICK, limits=IMPATIENT)


class Clock:
    """The time as the API sees it: the real one, plus what a test puts in ``ahead_s``."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@dataclass
class Answer:
    """An HTTP answer as it was on the wire."""

    status: int
    reason: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        assert self.status == 200, f"{self.status} {self.reason} {self.body!r}"
        return self.json["data"]


@dataclass
class Client:
    """Sends raw requests; ``headers`` say who it is."""

    port: int
    ca: Path
    headers: dict[str, str] = field(default_factory=dict)

    def send(self, method: str, path: str, body: str | bytes | None = None, **headers: str) -> Answer:
        return self.fetch(method, f"/api2/json{path}", body, **headers)

    def fetch(self, method: str, path: str, body: str | bytes | None = None, **headers: str) -> Answer:
        context = ssl.create_default_context(cafile=str(self.ca))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, self.headers | headers)
            response = connection.getresponse()
            return Answer(response.status, response.reason, response.read())

    def get(self, path: str, /, **query: object) -> Answer:
        return self.send("GET", f"{path}?{urlencode(query)}" if query else path)

    def delete(self, path: str, /, **query: object) -> Answer:
        return self.send("DELETE", f"{path}?{urlencode(query)}" if query else path)

    def post(self, path: str, /, **form: object) -> Answer:
        return self._form("POST", path, form)

    def put(self, path: str, /, **form: object) -> Answer:
        return self._form("PUT", path, form)

    def _form(self, method: str, path: str, form: dict[str, object]) -> Answer:
        body = urlencode({key.replace("__", "-"): value for key, value in form.items()}, doseq=True)
        return self.send(method, path, body, **{"Content-Type": "application/x-www-form-urlencoded"})

    def json(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        return self.send(method, path, json.dumps(body), **{"Content-Type": "application/json"})

    def end(self, upid: str) -> dict[str, Any]:
        """Wait for a task and return its status."""
        node = upid.split(":")[1]
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            status = dict(self.get(f"/nodes/{node}/tasks/{upid}/status").data)
            if status["status"] == "stopped":
                return status
        raise AssertionError(f"{upid} still runs")

    def task(self, answer: Answer) -> str:
        """Wait for the task of an answer and return its exit status."""
        assert str(answer.data).startswith("UPID:"), answer.data
        return str(self.end(answer.data)["exitstatus"])


@dataclass
class Lab:
    """A running emulator."""

    datacentre: Datacentre
    machines: FakeMachines
    clock: Clock
    port: int
    ca: Path
    password: str
    token: str
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def client(self, **headers: str) -> Client:
        return Client(self.port, self.ca, dict(headers))

    @property
    def root(self) -> Client:
        """A client with a ticket of root@pam."""
        return self.login("root@pam", self.password)

    @property
    def saltern(self) -> Client:
        """A client with the product's API token."""
        return self.client(Authorization=f"PVEAPIToken={self.token}")

    def login(self, user: str, password: str) -> Client:
        ticket = self.client().post("/access/ticket", username=user, password=password).data
        return self.client(
            Cookie=f"PVEAuthCookie={ticket['ticket']}", CSRFPreventionToken=ticket["CSRFPreventionToken"]
        )

    def proxmoxer(self, **login: Any) -> ProxmoxAPI:
        return ProxmoxAPI("127.0.0.1", port=self.port, verify_ssl=str(self.ca), timeout=20, **login)

    def vm(self, vmid: int = 101, name: str = "w1", **config: object) -> Client:
        """Make a stopped VM by a linked clone and return root's client."""
        root = self.root
        assert root.task(root.post("/nodes/pve/qemu/9000/clone", newid=vmid, name=name)) == "OK"
        if config:
            assert root.task(root.post(f"/nodes/pve/qemu/{vmid}/config", **config)) == "OK"
        return root


class Runner:
    """Runs emulators in threads; ``stop`` ends one, as a crash would for its tasks."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(self, settings: Settings = SETTINGS, machines: FakeMachines | None = None) -> Lab:
        machines = machines or FakeMachines()
        clock = Clock()
        datacentre = Datacentre(self.directory, settings, machines, clock)
        datacentre.recover()
        initial.populate(datacentre)
        now = datetime.datetime.now(datetime.UTC)
        ca = ensure_ca(self.directory / "ca", now)
        pair = ensure_server(self.directory / "tls", ca, certificate_names("127.0.0.1", datacentre), now)
        listener = listen("127.0.0.1", 0)
        server = uvicorn.Server(configuration(datacentre, pair))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        self.servers.append((server, thread))
        credentials = self.directory / "credentials"
        return Lab(
            datacentre,
            machines,
            clock,
            listener.getsockname()[1],
            ca.certificate,
            (credentials / "root@pam.password").read_text().strip(),
            (credentials / "saltern@pve!salt.token").read_text().strip(),
        )

    def stop(self) -> None:
        for server, thread in self.servers:
            server.should_exit = True
            thread.join(10)
        self.servers.clear()


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    running = Runner(tmp_path / "state")
    yield running
    running.stop()


@pytest.fixture
def lab(runner: Runner) -> Lab:
    return runner.start()


LabFactory = Callable[..., Lab]
