"""What a node asks of its network, and what the answers mean: real sockets and servers on loopback, real texts."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError

from saltern import node_pillar
from tests.salt_node import Node
from tests.unit.modules.member import CLUSTER

CAPTURED = Path(__file__).parent / "captured"
MODULES = ["preflight", "preflight_network", "preflight_answers", "preflight_identity", "artefact"]


def node(root: Path, name: str = "saw-k8s-m-01") -> Node:
    """A node of the table that is no member."""
    made = Node(root / "node", node_pillar.build(CLUSTER, name), MODULES, minion_id=name)
    made.salt["node_facts.container"] = lambda: None
    made.salt["node_facts.resolv_conf"] = lambda: "/etc/resolv.conf"
    return made


@pytest.fixture
def module(tmp_path):
    return Node(tmp_path / "plain", {}, ["preflight_network"]).modules["preflight_network"]


def codes(found: list[dict[str, str]]) -> list[str]:
    return [finding["code"] for finding in found]


# -- what is asked


def test_a_fresh_node_asks_for_artefacts_registries_names_and_nodes(tmp_path):
    asked = node(tmp_path).salt["preflight_network.probes"]("control_plane", False)
    kinds = [kind for kind, _ in asked]
    assert set(kinds) == {"artefact", "registry", "name", "nodes"}
    assert ("name", "dl.k8s.io") in asked and ("registry", "https://quay.io") in asked
    assert kinds.count("artefact") == len(node_pillar.build(CLUSTER, "saw-k8s-m-01")["saltern"]["artefacts"])


def test_a_member_asks_for_nothing_that_it_has(tmp_path):
    made = node(tmp_path)
    made.salt["artefact.difference"] = lambda artefact, records: None
    assert list(made.salt["preflight_network.probes"]("control_plane", True)) == [("nodes", "")]


def test_a_member_asks_for_what_it_lacks(tmp_path):
    made = node(tmp_path)
    made.salt["artefact.difference"] = lambda artefact, records: "gone" if artefact["name"] == "helm" else None
    asked = made.salt["preflight_network.probes"]("control_plane", True)
    assert sorted(kind for kind, _ in asked) == ["artefact", "name", "nodes"]


def test_an_artefact_with_a_damaged_record_is_fetched_anew(tmp_path):
    def damaged(artefact, records):
        raise CommandExecutionError("not JSON")

    made = node(tmp_path)
    made.salt["artefact.difference"] = damaged
    assert made.salt["preflight_network.missing_artefacts"]() == made.pillar["saltern"]["artefacts"]


def test_addresses_are_not_resolved(tmp_path):
    made = node(tmp_path)
    for artefact in made.pillar["saltern"]["artefacts"]:
        artefact["url"] = f"http://192.168.100.1:8080/{artefact['name']}"
    made.pillar["saltern"]["crio"]["registries"] = {"allowed": [], "mirrors": []}
    assert "name" not in [kind for kind, _ in made.salt["preflight_network.probes"]("control_plane", False)]


def test_a_mirror_is_asked_in_a_registrys_place(tmp_path):
    made = node(tmp_path)
    made.pillar["saltern"]["crio"]["registries"] = {
        "allowed": ["registry.k8s.io", "quay.io/cilium"],
        "mirrors": [
            {"registry": "registry.k8s.io", "mirror": "10.0.0.1:5000/k8s", "insecure": True},
            {"registry": "ghcr.io", "mirror": "mirror.example:5000", "insecure": False},
        ],
    }
    assert made.salt["preflight_network.registries"]() == {
        "registry.k8s.io": ["http://10.0.0.1:5000"],
        "quay.io/cilium": ["https://quay.io"],
        "ghcr.io": ["https://mirror.example:5000"],
    }


def ports_by_node(made: Node, role: str, begun: bool = False, peers: list[str] | None = None) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for name, _, port in made.salt["preflight_network.targets"](role, begun, peers):
        found.setdefault(name, []).append(port)
    return found


def test_what_a_control_plane_node_connects_to(tmp_path):
    found = ports_by_node(node(tmp_path), "control_plane")
    assert set(found) == set(CLUSTER.nodes) - {"saw-k8s-m-01"}
    assert found["saw-k8s-m-02"] == [4240, 4244, 7946, 10250, 2379, 2380]
    assert found["saw-k8s-w-01"] == [4240, 4244, 7946, 10250]
    assert found["saw-k8s-ha-01"] == [6443]


def test_what_a_worker_connects_to(tmp_path):
    found = ports_by_node(node(tmp_path, "saw-k8s-w-01"), "worker")
    assert found["saw-k8s-m-01"] == [4240, 4244, 7946]
    assert found["saw-k8s-ha-01"] == [6443]


def test_what_a_load_balancer_connects_to(tmp_path):
    found = ports_by_node(node(tmp_path, "saw-k8s-ha-01"), "load_balancer")
    assert found == {f"saw-k8s-m-0{number}": [6443] for number in (1, 2, 3)}


def test_nodes_that_are_not_up_are_not_asked(tmp_path):
    peers = ["saw-k8s-m-01", "saw-k8s-w-02", "saw-k8s-m-03"]
    assert set(ports_by_node(node(tmp_path), "control_plane", peers=peers)) == set(peers) - {"saw-k8s-m-01"}
    assert set(ports_by_node(node(tmp_path / "ha", "saw-k8s-ha-01"), "load_balancer", peers=peers)) == {
        "saw-k8s-m-01", "saw-k8s-m-03",
    }  # fmt: skip


@pytest.mark.parametrize(("begun", "asked"), [(False, 0), (True, 1)])
def test_a_shared_endpoint_is_asked_once_it_has_to_be_there(tmp_path, begun, asked):
    made = node(tmp_path)
    made.pillar["saltern"]["cluster"]["endpoint"]["address"] = "192.168.100.149"
    rows = made.salt["preflight_network.targets"]("control_plane", begun)
    assert rows.count(["", "192.168.100.149", 6443]) == asked


# -- connections


@contextmanager
def deaf() -> Iterator[int]:
    """A port of loopback whose queue is full: the kernel drops further packets, as a firewall does."""
    with ExitStack() as open_ones:
        server = open_ones.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(2):
            client = open_ones.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def closed_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def test_accepted_and_refused_are_well_and_silence_is_not(module):
    with socket.create_server(("127.0.0.1", 0)) as server, deaf() as silent:
        rows = [("a", server.getsockname()[1]), ("b", closed_port()), ("c", silent)]
        found = module.blocked([[name, "127.0.0.1", port] for name, port in rows], timeout_s=0.5)
    assert found == [["c", silent, "no answer within 0.5 s"]]


def test_silent_ports_are_waited_for_together(module):
    with deaf() as silent:
        rows = [["n", "127.0.0.1", silent]] * 50
        began = module.time.monotonic()
        assert len(module.blocked(rows, timeout_s=0.5)) == 50
        assert module.time.monotonic() - began < 2


def test_more_ports_than_files_may_be_open(module, monkeypatch):
    monkeypatch.setattr(module, "MOST_AT_ONCE", 3)
    port = closed_port()
    assert module.blocked([["n", "127.0.0.1", port]] * 10) == []


def test_an_address_without_a_way(module):
    """Broadcast is no address that TCP connects to: the kernel says so at once."""
    ((name, port, reason),) = module.blocked([["n", "255.255.255.255", 80]])
    assert (name, port) == ("n", 80) and reason == "network is unreachable"


# -- servers


class Rack(http.server.BaseHTTPRequestHandler):
    """A mirror and a registry in one: the path says how it answers."""

    def answer(self) -> None:
        status = int(self.path.split("/")[1]) if self.path.split("/")[1].isdigit() else 200
        status = self.server.registry if self.path == "/v2/" else status
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved"))
        else:
            self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = answer  # noqa: N815 - names of http.server

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def rack(registry: int = 200, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server on loopback; yields HOST:PORT."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rack)
    server.registry = registry
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("kubeadm", None),
        ("404/kubeadm", "HTTP 404 Not Found"),
        ("503/kubeadm", "HTTP 503 Service Unavailable"),
        ("403/kubeadm", "HTTP 403 Forbidden"),
        ("405/kubeadm", None),  # a server that knows GET alone
        ("moved/kubeadm", None),
        ("moved/403/kubeadm", None),  # signed for GET alone
        ("moved/404/kubeadm", "HTTP 404 Not Found"),
    ],
)
def test_whether_a_server_has_a_file(module, path, reason):
    with rack() as place:
        assert module.fetchable(f"http://{place}/{path}") == reason


def test_a_server_that_is_down(module):
    assert module.fetchable(f"http://127.0.0.1:{closed_port()}/kubeadm") == "Connection refused"


def test_a_server_that_is_silent(module, monkeypatch):
    monkeypatch.setattr(module, "CONNECT_S", 0.3)
    with deaf() as port:
        assert module.fetchable(f"http://127.0.0.1:{port}/kubeadm") == "no answer within 0.3 s"


def test_a_server_that_speaks_no_http(module):
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), daemon=True).start()
        assert "SSH-2.0" in module.fetchable(f"http://127.0.0.1:{server.getsockname()[1]}/kubeadm")


@pytest.fixture
def tls(tmp_path) -> ssl.SSLContext:
    """A server's TLS with a certificate that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=mirror", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*request, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context.load_cert_chain(certificate, key)
    return context


def test_a_certificate_that_is_not_trusted(module, tls):
    with rack(context=tls) as place:
        assert module.fetchable(f"https://{place}/kubeadm").startswith("its certificate is not trusted: self-signed")


@pytest.mark.parametrize(("status", "served"), [(200, True), (401, True), (404, False), (500, False)])
def test_whether_an_image_registry_answers(module, status, served):
    with rack(registry=status) as place:
        reason = module.serves(f"http://{place}")
    assert (reason is None) is served
    assert served or reason.endswith("for /v2/")


def test_an_insecure_registry_may_speak_tls(module, tls):
    with rack(context=tls) as place:
        assert module.serves(f"http://{place}") is None
        assert "not trusted" in module.serves(f"https://{place}")


def test_a_registry_that_is_down(module):
    assert module.serves(f"http://127.0.0.1:{closed_port()}") == "Connection refused"


def test_names(module):
    assert module.resolves("localhost") is None
    assert "ame or service not known" in module.resolves("no.such.name.invalid")


# -- what the answers mean


def findings(made: Node, answers: dict[tuple[str, str], Any]) -> list[dict[str, Any]]:
    return made.salt["preflight_answers.findings"]({("nodes", ""): [], **answers})


def test_all_is_well(tmp_path):
    answers = {("artefact", "https://dl.k8s.io/x/kubeadm"): None, ("registry", "https://quay.io"): None}
    assert findings(node(tmp_path), answers) == []


def test_a_mirror_that_is_down_is_one_finding(tmp_path):
    urls = [f"http://192.168.100.1:8080/dl.k8s.io/{name}" for name in ("kubeadm", "kubelet")]
    (found,) = findings(node(tmp_path), {("artefact", url): "Connection refused" for url in urls})
    assert found["code"] == "artefact-unreachable" and found["where"] == "192.168.100.1:8080"
    assert found["what"] == "192.168.100.1:8080 does not answer (Connection refused)"
    assert "curl -I http://192.168.100.1:8080/" in found["remedy"] and "artefacts.mirror" in found["remedy"]


def test_a_mirror_that_is_down_reads_the_same_whoever_sees_it(tmp_path):
    """The master puts equal findings together: a worker lacks other artefacts than a control-plane node."""
    one, other = (
        findings(node(tmp_path / name), {("artefact", f"http://192.168.100.1:8080/{name}"): "Connection refused"})
        for name in ("kubeadm", "helm")
    )
    assert one == other


def test_files_that_a_mirror_lacks_are_one_finding(tmp_path):
    urls = [f"http://192.168.100.1:8080/dl.k8s.io/{name}" for name in ("kubeadm", "kubelet")]
    (found,) = findings(node(tmp_path), {("artefact", url): "HTTP 404 Not Found" for url in urls})
    assert found["what"] == "192.168.100.1:8080 answers HTTP 404 Not Found for kubeadm, kubelet"
    assert found["where"] == urls[0]


def test_a_name_that_is_not_resolved_is_the_only_finding_about_its_server(tmp_path):
    answers = {
        ("name", "quay.io"): "Temporary failure in name resolution",
        ("registry", "https://quay.io"): "Temporary failure in name resolution",
    }
    (found,) = findings(node(tmp_path), answers)
    assert found["code"] == "name-not-resolved"
    assert found["what"] == "quay.io is not resolved (Temporary failure in name resolution)"


def registries(made: Node, *mirrors: tuple[str, str]) -> None:
    rows = [{"registry": registry, "mirror": mirror, "insecure": True} for registry, mirror in mirrors]
    made.pillar["saltern"]["crio"]["registries"] = {"allowed": ["registry.k8s.io", "quay.io"], "mirrors": rows}


def test_one_registry_server_for_all_is_one_finding(tmp_path):
    made = node(tmp_path)
    registries(made, ("registry.k8s.io", "192.168.100.1:5000"), ("quay.io", "192.168.100.1:5000"))
    (found,) = findings(made, {("registry", "http://192.168.100.1:5000"): "Connection refused"})
    assert found["code"] == "registry-unreachable" and found["where"] == "192.168.100.1:5000"
    assert found["why"] == "images of registry.k8s.io, quay.io come from there"


def test_a_registry_with_another_mirror_beside_is_served(tmp_path):
    made = node(tmp_path)
    registries(made, ("quay.io", "10.0.0.1:5000"), ("quay.io", "10.0.0.2:5000"))
    down = ("registry", "http://10.0.0.1:5000"), ("registry", "http://10.0.0.2:5000")
    assert findings(made, {down[0]: "Connection refused"}) == []
    assert len(findings(made, dict.fromkeys(down, "Connection refused"))) == 2


def test_a_probe_that_did_not_end(tmp_path):
    (found,) = findings(node(tmp_path), {("artefact", "https://dl.k8s.io/kubeadm"): "no answer within 10 s"})
    assert found["what"] == "dl.k8s.io:443 does not answer (no answer within 10 s)"


def test_ways_that_are_blocked(tmp_path):
    made = node(tmp_path)
    rows = [["saw-k8s-m-02", 2380, "no answer within 3.5 s"], ["", 6443, "no route to host"]]
    assert made.salt["preflight_answers.unreached"]({("nodes", ""): rows}) == [
        {"node": "saw-k8s-m-02", "port": 2380, "reason": "no answer within 3.5 s"}
    ]
    (found,) = findings(made, {("nodes", ""): rows})
    assert (found["code"], found["where"]) == ("endpoint-unreachable", "192.168.100.150:6443")


def test_nodes_that_were_not_asked_in_time(tmp_path):
    made = node(tmp_path)
    late = {("nodes", ""): "no answer within 10 s"}
    assert made.salt["preflight_answers.unreached"](late) == [] and findings(made, late) == []


# -- by what a node is known: `ip -json address show` and /proc/net/arp of a control-plane node of a running cluster


@pytest.fixture
def member(tmp_path):
    made = node(tmp_path)
    vars(made.modules["preflight_identity"])["links"] = lambda: made.modules["preflight_identity"].interfaces(
        (CAPTURED / "ip-address-control-plane.json").read_text()
    )
    return made


def test_a_node_with_its_address(member):
    assert member.salt["preflight_identity.address"]() == []


def test_a_node_without_its_address(member):
    member.pillar["saltern"]["node"]["address"] = "192.168.100.199"
    (found,) = member.salt["preflight_identity.address"]()
    assert found["code"] == "address-missing"
    assert found["what"].startswith("no interface has 192.168.100.199; its addresses: 192.168.100.151")
    assert "127.0.0.1" not in found["what"]


def test_the_hardware_address_behind_the_nodes_address(member):
    module = member.modules["preflight_identity"]
    (mac,) = module.own_macs(module.links(), "192.168.100.151", root=member.root)
    assert mac.startswith("bc:24:11:")


def test_cards_of_a_bond_count_and_pods_interfaces_do_not(member, tmp_path):
    module = member.modules["preflight_identity"]
    (tmp_path / "sys/class/net/eth1/device").mkdir(parents=True)
    rows = [
        {"name": "bond0", "mac": "02:00:00:00:00:01", "addresses": ["10.0.0.1"]},
        {"name": "eth1", "mac": "02:00:00:00:00:02", "addresses": []},
        {"name": "lxc1234", "mac": "02:00:00:00:00:03", "addresses": []},
        {"name": "lo", "mac": "00:00:00:00:00:00", "addresses": ["127.0.0.1"]},
    ]
    assert module.own_macs(rows, "10.0.0.1", tmp_path) == ["02:00:00:00:00:01", "02:00:00:00:00:02"]


def test_neighbours_of_a_running_node(member):
    text = (CAPTURED / "arp-control-plane").read_text()
    found = member.modules["preflight_identity"].neighbours(text)
    assert found["192.168.100.150"].startswith("bc:24:11:")
    assert all(mac != "00:00:00:00:00:00" for mac in found.values())


def test_an_incomplete_neighbour_is_none(member):
    text = "IP address HW type Flags HW address Mask Device\n10.0.0.9 0x1 0x0 00:00:00:00:00:00 * eth0\n"
    assert member.modules["preflight_identity"].neighbours(text) == {}


def test_facts(member):
    found = member.salt["preflight_identity.facts"]()
    assert set(found) == {"hostname", "machine_id", "product_uuid", "macs", "neighbours", "has_endpoint"}
    assert found["has_endpoint"] is False
    assert found["hostname"] == socket.gethostname() and found["macs"]
    json.dumps(found)


def test_a_load_balancer_that_has_the_endpoints_address(member):
    member.pillar["saltern"]["cluster"]["endpoint"]["address"] = "127.0.0.1"
    assert member.salt["preflight_identity.facts"]()["has_endpoint"] is True


def test_a_container_shows_its_hosts_product_uuid(member):
    vars(member.modules["preflight_identity"])["_text"] = lambda path: path
    assert member.salt["preflight_identity.facts"]()["product_uuid"].endswith("product_uuid")
    member.salt["node_facts.container"] = lambda: "lxc"
    assert member.salt["preflight_identity.facts"]()["product_uuid"] == ""


def test_without_ip_nothing_can_be_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandExecutionError, match="is iproute2 installed"):
        node(tmp_path).salt["preflight_identity.links"]()


def test_this_machines_interfaces(tmp_path):
    assert "127.0.0.1" in [a for link in node(tmp_path).salt["preflight_identity.links"]() for a in link["addresses"]]


# -- the resolver for pods

STUB = "# stub-resolv.conf of systemd-resolved\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n"


def resolver(tmp_path, text: str | None, **kubelet: Any) -> list[dict[str, Any]]:
    made = node(tmp_path)
    path = tmp_path / "resolv.conf"
    if text is not None:
        path.write_text(text)
    made.salt["node_facts.resolv_conf"] = lambda: str(path)
    made.pillar["saltern"]["kubeadm"]["kubelet"] |= kubelet
    return made.salt["preflight_identity.resolver"]()


@pytest.mark.parametrize(
    "text", ["nameserver 192.168.100.1\n", f"{STUB}nameserver 192.168.100.1\n", "nameserver fd00::1\n"]
)
def test_a_server_that_pods_reach(tmp_path, text):
    assert resolver(tmp_path, text) == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (STUB, "the only DNS servers are 127.0.0.53"),
        ("nameserver ::1\n", "the only DNS servers are ::1"),
        ("search example\n", "no DNS server is named"),
        (None, "no DNS server is named"),
    ],
)
def test_servers_that_lead_pods_nowhere(tmp_path, text, what):
    (found,) = resolver(tmp_path, text)
    assert (found["code"], found["what"]) == ("resolver-loop", what)


def test_the_operators_own_resolver_configuration(tmp_path):
    assert resolver(tmp_path, STUB, resolvConf="/etc/pods.conf") == []


@pytest.mark.parametrize(
    ("role", "begun", "asked"), [("worker", False, 1), ("worker", True, 0), ("load_balancer", False, 0)]
)
def test_whose_resolver_is_looked_at(tmp_path, role, begun, asked):
    made = node(tmp_path)
    module = vars(made.modules["preflight_identity"])
    module["address"], module["resolver"] = lambda: [], lambda: ["finding"]
    assert len(made.salt["preflight_identity.findings"](role, begun)) == asked
