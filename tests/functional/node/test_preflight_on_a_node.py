"""What stands in the way of real booted nodes: made so, found, undone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.nodes.scratch import ScratchNode, scratch_node
from saltern import definition, node_pillar

CHECKOUT = Path(__file__).parents[3]
# The node is its own mirror and registry: a server that has every file and answers /v2/.
SERVER = """
import http.server
class Rack(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(404 if "absent" in self.path else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_HEAD = do_GET
http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Rack).serve_forever()
"""
LOCK = (
    "import fcntl, time; file = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(file, fcntl.LOCK_EX); "
    "print('locked', flush=True); time.sleep(300)"
)


class Examined:
    """A scratch node with a worker's or a control-plane node's pillar, suited to where it is."""

    def __init__(self, node: ScratchNode, pillar: dict[str, Any]) -> None:
        self.node, self.pillar = node, pillar

    def report(self) -> dict[str, Any]:
        """What the node tells when the nodes of its pillar are up."""
        self.node.run(["mkdir", "-p", "/srv/pillar"])
        for name, data in {"top": {"base": {"*": ["node"]}}, "node": self.pillar}.items():
            self.node.run(["tee", f"/srv/pillar/{name}.sls"], stdin=json.dumps(data))
        told = self.node.salt_call("preflight.findings")
        assert isinstance(told, dict), told
        return told

    def codes(self) -> list[str]:
        return [found["code"] for found in self.report()["findings"]]

    def found(self, code: str) -> dict[str, str]:
        """The one finding."""
        findings = self.report()["findings"]
        assert [found["code"] for found in findings] == [code], findings
        return findings[0]

    @contextmanager
    def running(self, name: str, *argv: str) -> Iterator[None]:
        """A program as a unit of the node."""
        self.node.run(["systemd-run", f"--unit={name}", "--quiet", *argv])
        try:
            yield
        finally:
            self.node.exec(["systemctl", "stop", name])

    @contextmanager
    def serving(self) -> Iterator[None]:
        """The node's mirror and registry."""
        with self.running("rack", "python3", "-c", SERVER):
            self.node.run(["sh", "-c", "until ss -ltnH sport = :8080 | grep -q .; do sleep 0.05; done"])
            yield


@pytest.fixture(scope="module")
def definition_dirs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The shipped definition, with the sums that it leaves to the operator."""
    overlay = tmp_path_factory.mktemp("overlay")
    rows = "".join(f'  {chart}: {{sha256: {{any: "{"0" * 64}"}}}}\n' for chart in ("cilium-chart", "metallb-chart"))
    (overlay / "versions.sls").write_text(f"artefacts:\n{rows}")
    return [CHECKOUT / "pillar", overlay]


def pillar_of(node: ScratchNode, name: str, dirs: list[Path], others: dict[str, str]) -> dict[str, Any]:
    """The pillar of a row, for a scratch node: its own address, its own mirror, the others that are there."""
    pillar = node_pillar.build(definition.load(dirs), name)
    own = pillar["saltern"]
    own["node"]["address"] = node.address
    own["nodes"] = [row | {"address": others[row["name"]]} for row in own["nodes"] if row["name"] in others]
    for artefact in own["artefacts"]:
        artefact["url"] = f"http://127.0.0.1:8080/{artefact['name']}"
    mirrors = [
        {"registry": name, "mirror": "127.0.0.1:8080", "insecure": True} for name in ("registry.k8s.io", "quay.io")
    ]
    own["crio"]["registries"]["mirrors"] = mirrors
    # What this machine's kernel lacks is not what these tests are about.
    own["kubeadm"]["ignore_preflight_errors"] = ["SystemVerification", "NumCPU", "Mem"]
    own["os"]["modules"] = []
    return pillar


@pytest.fixture(scope="module")
def first() -> Iterator[ScratchNode]:
    with scratch_node("saw-k8s-m-01") as booted:
        yield booted


@pytest.fixture(scope="module")
def second() -> Iterator[ScratchNode]:
    with scratch_node("saw-k8s-m-02") as booted:
        yield booted


@pytest.fixture
def alone(first: ScratchNode, definition_dirs: list[Path]) -> Iterator[Examined]:
    """A fresh control-plane node with its mirror and registry."""
    examined = Examined(first, pillar_of(first, "saw-k8s-m-01", definition_dirs, {"saw-k8s-m-01": first.address}))
    with examined.serving():
        yield examined


def test_nothing_stands_in_the_way_of_a_fresh_node(alone):
    report = alone.report()
    assert (report["findings"], report["unreached"]) == ([], [])
    facts = report["facts"]
    assert facts["hostname"] == "saw-k8s-m-01" and len(facts["machine_id"]) == 32
    assert [mac for mac in facts["macs"] if mac.startswith("bc:24:11")]
    assert report["clock"][1] - report["clock"][0] < 5


def test_port_6443_is_taken(alone):
    with alone.running("thief", "python3", "-m", "http.server", "6443"):
        alone.node.run(["sh", "-c", "until ss -ltnH sport = :6443 | grep -q .; do sleep 0.05; done"])
        found = alone.found("port-taken")
    assert found["what"].startswith("port 6443, which kube-apiserver needs, is taken by python3 (PID ")
    assert alone.codes() == []


def test_another_clusters_etc_kubernetes(alone):
    kubeconfig = "clusters: [{name: old, cluster: {server: 'https://10.9.9.9:6443'}}]\n"
    alone.node.run(["mkdir", "-p", "/etc/kubernetes/pki"])
    alone.node.run(["tee", "/etc/kubernetes/kubelet.conf"], stdin=kubeconfig)
    found = alone.found("foreign-cluster")
    assert found["what"] == "state of another cluster at https://10.9.9.9:6443: /etc/kubernetes (kubelet.conf, pki)"
    assert "kubeadm reset -f" in found["remedy"]
    alone.node.run(["mv", "/etc/kubernetes", "/root/etc-kubernetes.old"])  # what the remedy says
    assert alone.codes() == []


def test_a_full_disk_and_a_read_only_one(alone):
    alone.node.run(["mkdir", "-p", "/opt/sandbox"])
    alone.node.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", "/opt/sandbox"])
    try:
        found = alone.found("disk-full")
        assert found["what"] == "20 MiB free" and found["where"] == "/opt/sandbox"
        alone.node.run(["mount", "-o", "remount,ro", "/opt/sandbox"])
        assert "remount,rw /opt/sandbox" in alone.found("disk-read-only")["remedy"]
    finally:
        alone.node.run(["umount", "/opt/sandbox"])
    assert alone.codes() == []


def test_a_mirror_that_is_down_or_lacks_a_file(alone):
    alone.pillar["saltern"]["artefacts"][0]["url"] += "-absent"
    found = alone.found("artefact-unreachable")
    assert found["what"] == "127.0.0.1:8080 answers HTTP 404 Not Found for crio-absent"
    alone.pillar["saltern"]["crio"]["registries"]["mirrors"] = []
    alone.pillar["saltern"]["crio"]["registries"]["allowed"] = []
    alone.node.run(["systemctl", "stop", "rack"])
    assert alone.found("artefact-unreachable")["what"] == "127.0.0.1:8080 does not answer (Connection refused)"


def test_a_registry_that_is_down(alone):
    for mirror in alone.pillar["saltern"]["crio"]["registries"]["mirrors"]:
        mirror["mirror"] = "127.0.0.1:5000"
    assert alone.found("registry-unreachable")["why"] == "images of registry.k8s.io, quay.io come from there"


def test_a_name_that_is_not_resolved(alone):
    alone.pillar["saltern"]["artefacts"][0]["url"] = "http://no.such.name.invalid/crio"
    assert alone.found("name-not-resolved")["what"].startswith("no.such.name.invalid is not resolved (")


def test_a_package_manager_at_work(alone):
    with alone.running("busy", "python3", "-c", LOCK):
        alone.node.run(["sh", "-c", "until journalctl -u busy | grep -q locked; do sleep 0.05; done"])
        held = alone.node.salt_call("preflight_packages.holder")
    assert held["lock"] == "/var/lib/dpkg/lock-frontend" and held["command"].startswith("/usr/bin/python3 -c import")
    assert alone.node.salt_call("preflight_packages.holder") is None


def test_the_address_of_the_row_is_missing(alone):
    alone.pillar["saltern"]["node"]["address"] = "192.168.100.99"
    assert alone.found("address-missing")["what"].endswith(f"its addresses: {alone.node.address}")


# -- two nodes


@pytest.fixture
def pair(first: ScratchNode, second: ScratchNode, definition_dirs: list[Path]) -> Iterator[tuple[Examined, Examined]]:
    """Two control-plane nodes on which nothing listens yet."""
    addresses = {"saw-k8s-m-01": first.address, "saw-k8s-m-02": second.address}
    one = Examined(first, pillar_of(first, "saw-k8s-m-01", definition_dirs, addresses))
    other = Examined(second, pillar_of(second, "saw-k8s-m-02", definition_dirs, addresses))
    with one.serving(), other.serving():
        yield one, other


def test_nodes_on_which_nobody_listens_reach_each_other(pair):
    one, other = (examined.report() for examined in pair)
    assert (one["unreached"], other["unreached"]) == ([], [])
    # They have met: each has the other's hardware address.
    neighbours = one["facts"]["neighbours"]
    assert neighbours[pair[1].node.address] in other["facts"]["macs"]


def test_a_node_that_answers_nothing(pair):
    """The second has no way back to the first: its answers are dropped, as by a firewall."""
    one, other = pair
    other.node.run(["ip", "route", "add", "blackhole", one.node.address])
    try:
        unreached = one.report()["unreached"]
    finally:
        other.node.run(["ip", "route", "delete", "blackhole", one.node.address])
    assert {row["port"] for row in unreached} == {2379, 2380, 4240, 4244, 7946, 10250}
    assert {(row["node"], row["reason"]) for row in unreached} == {("saw-k8s-m-02", "no answer within 3.5 s")}


def test_a_network_that_says_no(pair):
    one, other = pair
    for kind, reason in (("prohibit", "permission denied"), ("unreachable", "no route to host")):
        one.node.run(["ip", "route", "add", kind, other.node.address])
        unreached = one.report()["unreached"]
        one.node.run(["ip", "route", "delete", kind, other.node.address])
        assert {row["reason"] for row in unreached} == {reason}
