"""A small Proxmox API on loopback: TLS, tickets and tokens, tasks, machines; and faults on request.

It answers as Proxmox does on the wire (paths, forms, reason phrases, UPIDs), for as much of the API as the driver
uses. An unknown route or parameter is an error, so that a wrong call cannot pass.
"""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import re
import ssl
import sys
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "saltern@pve", "right password"
TOKEN_NAME, TOKEN_VALUE = "cloud", "11111111-2222-3333-4444-555555555555"
GIB = 1024**3
# Stands for a status where there is no answer at all.
_HUNG_UP = 0


class RefusalError(Exception):
    """An HTTP error: status and reason phrase."""

    def __init__(self, status: int, reason: str, errors: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.errors = status, reason, errors


@dataclass
class Fault:
    """What goes wrong with calls that match: an HTTP error, or a task's exit status."""

    pattern: str
    times: int
    refusal: RefusalError | None = None
    exit_status: str | None = None
    effect: Callable[[], None] | None = None


@dataclass
class Guest:
    """A machine: its configuration, and whether it runs or is a template."""

    config: dict[str, Any]
    node: str = "pve"
    running: bool = False
    template: bool = False


@dataclass
class FakeProxmox:
    """State of the installation, and a record of every call."""

    guests: dict[int, Guest] = field(default_factory=dict)
    images: dict[str, bytes] = field(default_factory=dict)
    disks: set[str] = field(default_factory=set)
    nodes: dict[str, str] = field(default_factory=lambda: {"pve": "online"})
    faults: list[Fault] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    agents: dict[int, list[str]] = field(default_factory=dict)
    polls_per_task: int = 0
    clones_running: int = 0
    most_clones: int = 0
    on_start: Callable[[int, Guest], None] | None = None
    answers: bool = True
    lost: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    warnings: int = 0

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.guests.setdefault(
            9000,
            Guest(
                {"name": "debian-12-saltern", "scsi0": "local-lvm:base-9000-disk-0,size=8G", "boot": "order=scsi0"},
                template=True,
            ),
        )

    def fail(self, pattern: str, status: int, reason: str, times: int = 1, **errors: str) -> None:
        """Refuse the next calls that match, with that status and reason phrase."""
        self.faults.append(Fault(pattern, times, refusal=RefusalError(status, reason, errors)))

    def hang_up(self, pattern: str, times: int = 1) -> None:
        """Close the connection of the next calls that match, without an answer."""
        self.fail(pattern, _HUNG_UP, "", times)

    def fail_task(self, pattern: str, exit_status: str, times: int = 1) -> None:
        """Let the next tasks that match end with that exit status, without effect."""
        self.faults.append(Fault(pattern, times, exit_status=exit_status))

    def lose_answer(self, pattern: str) -> None:
        """Do the work of the next call that matches, and answer it as a node that took too long."""
        self.lost.append(pattern)

    def before(self, pattern: str, effect: Callable[[], None]) -> None:
        """Do something when the next matching call arrives."""
        self.faults.append(Fault(pattern, 1, effect=effect))

    def made(self, *methods: str) -> list[str]:
        """The calls so far of those methods, without polls of tasks: ["POST nodes/pve/qemu/9000/clone", ..]."""
        return [
            what
            for what, _ in self.calls
            if what.split()[0] in methods and "/tasks/" not in what and "ticket" not in what
        ]

    def parameters(self, pattern: str) -> dict[str, Any]:
        """The parameters of the last call that matches."""
        return [given for what, given in self.calls if re.search(pattern, what)][-1]

    def by_name(self, name: str) -> Guest | None:
        """The machine of that name."""
        return next((guest for guest in self.guests.values() if guest.config.get("name") == name), None)

    def answer(self, method: str, path: str, given: dict[str, Any], headers: Any) -> Any:
        """Answer one call with its data, or raise RefusalError."""
        what = f"{method} {path}"
        with self.lock:
            self.calls.append((what, given))
            if path == "access/ticket":
                return self._ticket(given)
            self._authenticate(method, path, headers)
            exit_status = self._fault(what)
            for pattern, function in _ROUTES:
                match = re.fullmatch(pattern, what)
                if match:
                    data = function(self, given, exit_status, *match.groups())
                    self._lose(what)
                    return data
        raise RefusalError(501, f"Method '{method} /{path}' not implemented")

    def _fault(self, what: str) -> str | None:
        for fault in self.faults:
            if fault.times and re.search(fault.pattern, what):
                fault.times -= 1
                if fault.effect:
                    fault.effect()
                if fault.refusal:
                    raise fault.refusal
                return fault.exit_status
        return None

    def leave_disk(self, volid: str, why: str, still_there: bool = True) -> None:
        """Let the next destroy task tell that it could not remove a disk; the second try that it makes may have."""

        def left() -> None:
            self.log = [f"Could not remove disk '{volid}', check manually: {why}"]
            self.disks |= {volid} if still_there else set()

        self.before(r"^DELETE .*/qemu/\d+$", left)

    def warn(self, pattern: str, *lines: str) -> None:
        """Let the next task that matches do its work and warn of something."""

        def warned() -> None:
            self.log = [f"WARN: {line}" for line in lines]
            self.warnings = len(lines)

        self.before(pattern, warned)

    def _lose(self, what: str) -> None:
        for pattern in self.lost:
            if re.search(pattern, what):
                self.lost.remove(pattern)
                raise RefusalError(596, "Connection timed out")

    def _ticket(self, given: dict[str, Any]) -> dict[str, str]:
        if (given.get("username"), given.get("password")) != (USER, PASSWORD):
            raise RefusalError(401, "authentication failure")
        return {"username": USER, "ticket": "PVE:t", "CSRFPreventionToken": "c"}

    def _authenticate(self, method: str, path: str, headers: Any) -> None:
        if headers.get("Authorization") == f"PVEAPIToken={USER}!{TOKEN_NAME}={TOKEN_VALUE}":
            return
        if "Authorization" in headers:
            raise RefusalError(401, "invalid token value!")
        if "PVEAuthCookie=PVE:t" not in headers.get("Cookie", "").replace('"', ""):
            raise RefusalError(401, "No ticket")
        if method != "GET" and headers.get("CSRFPreventionToken") != "c":
            raise RefusalError(401, "Permission denied - invalid csrf token")

    def guest(self, node: str, vmid: str) -> Guest:
        """A machine by number, on that node."""
        found = self.guests.get(int(vmid))
        if found is None or found.node != node:
            raise RefusalError(500, f"Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist")
        return found

    def task(self, kind: str, exit_status: str | None, effect: Callable[[], None]) -> str:
        """Make a task: its effect comes when it ends, after as many polls as are set."""
        upid = f"UPID:pve:{len(self.tasks):08X}:00000001:65000000:{kind}:{len(self.tasks)}:{USER}:"
        good = f"WARNINGS: {self.warnings}" if self.warnings else "OK"
        self.tasks[upid] = {"left": self.polls_per_task, "status": exit_status or good, "effect": effect}
        self.warnings = 0
        return upid


def _nodes(fake: FakeProxmox, given: dict[str, Any], _fault: str | None) -> Any:
    return [{"node": name, "status": status, "maxcpu": 8, "maxmem": 64 * GIB} for name, status in fake.nodes.items()]


def _row(vmid: int, guest: Guest) -> dict[str, Any]:
    row = {"vmid": vmid, "status": "running" if guest.running else "stopped", "cpus": int(guest.config.get("cores", 1))}
    row |= {"maxmem": int(guest.config.get("memory", 512)) * 1024**2, "maxdisk": 20 * GIB}
    row |= {"name": guest.config["name"]} if "name" in guest.config else {}
    return row | ({"template": 1} if guest.template else {})


def _qemu(fake: FakeProxmox, given: dict[str, Any], _fault: str | None, node: str) -> Any:
    if fake.nodes[node] != "online":
        raise RefusalError(595, "No route to host")
    return [_row(vmid, guest) for vmid, guest in fake.guests.items() if guest.node == node]


def _resources(fake: FakeProxmox, given: dict[str, Any], _fault: str | None) -> Any:
    rows = []
    for vmid, guest in fake.guests.items():
        row = _row(vmid, guest) | {"node": guest.node, "type": "qemu", "id": f"qemu/{vmid}"}
        if fake.nodes[guest.node] != "online":
            row = {key: row[key] for key in ("vmid", "node", "type", "id")} | {"status": "unknown"}
        rows.append(row)
    return rows


def _config(fake: FakeProxmox, given: dict[str, Any], _fault: str | None, node: str, vmid: str) -> Any:
    return dict(fake.guest(node, vmid).config) | {"digest": "0" * 40}


def _nextid(fake: FakeProxmox, given: dict[str, Any], _fault: str | None) -> Any:
    wanted = int(given.get("vmid", 0))
    if wanted in fake.guests:
        raise RefusalError(400, "Parameter verification failed.", {"vmid": f"VM {wanted} already exists"})
    return str(wanted or next(number for number in range(100, 1000) if number not in fake.guests))


def _clone(fake: FakeProxmox, given: dict[str, Any], fault: str | None, node: str, vmid: str) -> Any:
    _known(given, "newid", "name", "full", "storage", "target", "pool")
    source, newid = fake.guest(node, vmid), int(given["newid"])
    if newid in fake.guests:
        raise RefusalError(500, f"unable to create VM {newid}: config file already exists")
    if given.get("storage") and given["full"] == "0":
        raise RefusalError(500, "parameter 'storage' not allowed for linked clones")
    fake.clones_running += 1
    fake.most_clones = max(fake.most_clones, fake.clones_running)
    if not fault:
        fake.guests[newid] = Guest({"lock": "clone"}, node=given.get("target", node))

    def effect() -> None:
        fake.clones_running -= 1
        if not fault:
            copied = {key: value for key, value in source.config.items() if key != "name"}
            fake.guests[newid].config = copied | {"name": given["name"]}

    return fake.task("qmclone", fault, effect)


_SETTINGS = "sockets cores memory net0 ipconfig0 nameserver ciuser sshkeys ciupgrade tags onboot agent ide0 ide2 delete"


def _configure(fake: FakeProxmox, given: dict[str, Any], fault: str | None, node: str, vmid: str) -> Any:
    _known(given, *_SETTINGS.split())
    guest = fake.guest(node, vmid)
    for key in ("ciupgrade", "onboot"):
        if given.get(key, "0") not in ("0", "1"):
            raise RefusalError(400, "Parameter verification failed.", {key: "type check ('boolean') failed"})
    volume = given.get("ide2", "none").split(",")[0]
    if volume != "none" and volume not in fake.images:
        raise RefusalError(500, f"volume '{volume}' does not exist")
    return fake.task("qmconfig", fault, lambda: None if fault else guest.config.update(given))


def _resize(fake: FakeProxmox, given: dict[str, Any], fault: str | None, node: str, vmid: str) -> Any:
    _known(given, "disk", "size")
    guest = fake.guest(node, vmid)
    volume = guest.config[given["disk"]].split(",")[0]
    return fake.task("resize", fault, lambda: guest.config.update({given["disk"]: f"{volume},size={given['size']}"}))


def _current(fake: FakeProxmox, given: dict[str, Any], _fault: str | None, node: str, vmid: str) -> Any:
    return _row(int(vmid), fake.guest(node, vmid))


def _power(fake: FakeProxmox, given: dict[str, Any], fault: str | None, node: str, vmid: str, verb: str) -> Any:
    guest = fake.guest(node, vmid)

    def effect() -> None:
        if fault:
            return
        guest.running = verb in ("start", "reboot")
        if verb == "start" and fake.on_start:
            fake.on_start(int(vmid), guest)

    return fake.task(f"qm{verb}", fault, effect)


def _destroy(fake: FakeProxmox, given: dict[str, Any], fault: str | None, node: str, vmid: str) -> Any:
    _known(given, "purge", "destroy-unreferenced-disks")
    if fake.guest(node, vmid).running:
        raise RefusalError(500, f"VM {vmid} is running - destroy failed")
    return fake.task("qmdestroy", fault, lambda: None if fault else fake.guests.pop(int(vmid), None) and None)


def _upload(fake: FakeProxmox, given: dict[str, Any], fault: str | None, node: str, storage: str) -> Any:
    _known(given, "content", "filename", "file")
    if not given["filename"].endswith(".iso"):
        raise RefusalError(400, "wrong file extension")

    def effect() -> None:
        if not fault:
            fake.images[f"{storage}:iso/{given['filename']}"] = given["file"]

    return fake.task("imgcopy", fault, effect)


def _storages(fake: FakeProxmox, given: dict[str, Any], _fault: str | None, node: str) -> Any:
    return [
        {"storage": "local", "content": "iso,vztmpl", "active": 1, "shared": 0},
        {"storage": "local-lvm", "content": "images", "active": 1, "shared": 0},
    ]


def _content(fake: FakeProxmox, given: dict[str, Any], _fault: str | None, node: str, storage: str) -> Any:
    if given.get("content") == "images":
        named = f"vm-{given['vmid']}-"
        return [{"volid": volid} for volid in sorted(fake.disks) if volid.startswith(f"{storage}:") and named in volid]
    return [{"volid": volid, "content": "iso", "size": len(data)} for volid, data in fake.images.items()]


def _delete_image(
    fake: FakeProxmox, given: dict[str, Any], fault: str | None, node: str, storage: str, volid: str
) -> Any:
    volid = urllib.parse.unquote(volid)
    if volid not in fake.images and volid not in fake.disks:
        raise RefusalError(500, f"volume '{volid}' does not exist")

    def effect() -> None:
        if not fault:
            fake.images.pop(volid, None)
            fake.disks.discard(volid)

    return fake.task("imgdel", fault, effect)


def _task_status(fake: FakeProxmox, given: dict[str, Any], _fault: str | None, node: str, upid: str) -> Any:
    task = fake.tasks.get(upid)
    if task is None:
        raise RefusalError(400, "Parameter verification failed.", {"upid": "no such task"})
    if task["left"] > 0:
        task["left"] -= 1
        return {"status": "running", "upid": upid}
    effect, task["effect"] = task["effect"], None
    if effect:
        effect()
    return {"status": "stopped", "exitstatus": task["status"], "upid": upid}


def _recent_tasks(fake: FakeProxmox, given: dict[str, Any], _fault: str | None) -> Any:
    rows = []
    for upid, task in fake.tasks.items():
        row = {"upid": upid, "node": "pve", "type": upid.split(":")[5], "user": USER}
        rows.append(row if task["effect"] else row | {"endtime": 1, "status": task["status"]})
    return rows


def _task_log(fake: FakeProxmox, given: dict[str, Any], _fault: str | None, node: str, upid: str) -> Any:
    status = fake.tasks[upid]["status"]
    good = status == "OK" or status.startswith("WARNINGS")
    lines = ["starting", *fake.log, f"TASK {status}" if good else f"TASK ERROR: {status}"]
    return [{"n": number, "t": line} for number, line in enumerate(lines, start=1)]


def _abort(fake: FakeProxmox, given: dict[str, Any], _fault: str | None, node: str, upid: str) -> Any:
    task = fake.tasks.get(upid)
    if task and task["effect"]:
        task |= {"left": 0, "effect": None, "status": "interrupted by signal"}
        fake.guests = {vmid: guest for vmid, guest in fake.guests.items() if guest.config.get("lock") != "clone"}
    return None


def _agent(fake: FakeProxmox, given: dict[str, Any], _fault: str | None, node: str, vmid: str) -> Any:
    if int(vmid) not in fake.agents:
        raise RefusalError(500, "QEMU guest agent is not running")
    inside = [{"ip-address": address, "ip-address-type": "ipv4", "prefix": 24} for address in fake.agents[int(vmid)]]
    return {
        "result": [
            {"name": "lo", "ip-addresses": [{"ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8}]},
            {"name": "eth0", "ip-addresses": inside},
            {"name": "cilium_host", "ip-addresses": [{"ip-address": "10.4.0.9", "ip-address-type": "ipv4"}]},
        ]
    }


def _known(given: dict[str, Any], *names: str) -> None:
    unknown = {key: "property is not defined in schema" for key in given if key not in names}
    if unknown:
        raise RefusalError(400, "Parameter verification failed.", unknown)


_ROUTES: list[tuple[str, Callable[..., Any]]] = [
    (r"GET nodes", _nodes),
    (r"GET nodes/([^/]+)/qemu", _qemu),
    (r"GET cluster/resources", _resources),
    (r"GET cluster/nextid", _nextid),
    (r"GET cluster/tasks", _recent_tasks),
    (r"GET nodes/([^/]+)/qemu/(\d+)/config", _config),
    (r"POST nodes/([^/]+)/qemu/(\d+)/config", _configure),
    (r"POST nodes/([^/]+)/qemu/(\d+)/clone", _clone),
    (r"PUT nodes/([^/]+)/qemu/(\d+)/resize", _resize),
    (r"GET nodes/([^/]+)/qemu/(\d+)/status/current", _current),
    (r"POST nodes/([^/]+)/qemu/(\d+)/status/(start|stop|shutdown|reboot)", _power),
    (r"DELETE nodes/([^/]+)/qemu/(\d+)", _destroy),
    (r"GET nodes/([^/]+)/qemu/(\d+)/agent/network-get-interfaces", _agent),
    (r"GET nodes/([^/]+)/storage", _storages),
    (r"GET nodes/([^/]+)/storage/([^/]+)/content", _content),
    (r"POST nodes/([^/]+)/storage/([^/]+)/upload", _upload),
    (r"DELETE nodes/([^/]+)/storage/([^/]+)/content/(.+)", _delete_image),
    (r"GET nodes/([^/]+)/tasks/([^/]+)/status", _task_status),
    (r"GET nodes/([^/]+)/tasks/([^/]+)/log", _task_log),
    (r"DELETE nodes/([^/]+)/tasks/([^/]+)", _abort),
]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # an answer leaves in one piece: two would wait for an acknowledgement in between
    fake: FakeProxmox

    def _serve(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        given: dict[str, Any] = dict(urllib.parse.parse_qsl(parts.query))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if body and self.command in ("GET", "DELETE"):
                raise RefusalError(501, f"Unexpected content for method '{self.command}'")
            given |= self._form(body)
            data = self.fake.answer(self.command, parts.path.removeprefix("/api2/json/"), given, self.headers)
            self._send(200, "OK", {"data": data})
        except RefusalError as err:
            if err.status == _HUNG_UP:
                self.close_connection = True
                return
            self._send(err.status, err.reason, {"data": None, "message": err.reason + "\n", "errors": err.errors or {}})

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815  # http.server's names

    def _form(self, body: bytes) -> dict[str, Any]:
        kind = self.headers.get("Content-Type", "")
        if not kind.startswith("multipart/"):
            return dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
        given: dict[str, Any] = {}
        for part in message.iter_parts():
            if part.get_filename():
                given |= {"filename": part.get_filename(), "file": part.get_payload(decode=True)}
            else:
                given[str(part.get_param("name", header="content-disposition"))] = part.get_content().strip()
        return given

    def _send(self, status: int, reason: str, content: dict[str, Any]) -> None:
        body = b"" if status in (595, 596) else json.dumps(content).encode()
        self.send_response(status, reason)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test output to itself."""


class _QuietServer(http.server.ThreadingHTTPServer):
    """A client that does not trust the certificate hangs up, which some tests want: no traceback for that."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of every other error."""
        if not isinstance(sys.exc_info()[1], ssl.SSLError):
            super().handle_error(request, client_address)


class Server:
    """The fake behind TLS on a free port of loopback."""

    def __init__(self, fake: FakeProxmox, ca_file: Path, chain: Path) -> None:
        self.fake = fake
        self.ca_file = ca_file
        handler = type("Handler", (_Handler,), {"fake": fake})
        self._server = _QuietServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def certificate(directory: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate for 127.0.0.1. Returns: (certificate, certificate with key), both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    ca_file, chain = directory / "ca.pem", directory / "chain.pem"
    ca_file.write_bytes(pem)
    chain.write_bytes(pem + private)
    return ca_file, chain
