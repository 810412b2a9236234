"""A node's whole report: every part is asked, the network meanwhile, within its time."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from saltern import node_pillar
from tests.salt_node import CHECKOUT, Node
from tests.unit.modules.member import CLUSTER

PARTS = sorted(path.stem for path in (CHECKOUT / "_modules").glob("preflight*.py"))
OTHERS = ["artefact", "bind_mount", "kernel_module", "kubeadm_facts", "node_facts", "os_package", "ports", "sandbox"]


def node(root: Path, name: str = "saw-k8s-m-01") -> Node:
    """A node whose parts report nothing; the network is not asked."""
    made = Node(root / "node", node_pillar.build(CLUSTER, name), PARTS + OTHERS, minion_id=name)
    for part in ("machine", "disk", "kernel", "membership", "identity", "packages"):
        made.salt[f"preflight_{part}.findings"] = lambda *_: []
    made.salt["preflight_network.probes"] = lambda role, begun, peers: {("nodes", ""): list}
    made.salt["preflight_identity.facts"] = lambda: {"hostname": name}
    return made


def test_nothing_in_the_way(tmp_path):
    before = time.time()
    report = node(tmp_path).salt["preflight.findings"]()
    assert report["findings"] == [] and report["unreached"] == []
    assert report["facts"] == {"hostname": "saw-k8s-m-01"}
    assert before <= report["clock"][0] <= report["clock"][1] <= time.time()


@pytest.mark.parametrize("part", ["machine", "disk", "kernel", "membership", "identity", "packages"])
def test_every_part_is_asked(tmp_path, part):
    made = node(tmp_path)
    made.salt[f"preflight_{part}.findings"] = lambda *_: [{"code": part}]
    assert made.salt["preflight.findings"]()["findings"] == [{"code": part}]


def test_a_load_balancers_kernel_is_not_looked_at(tmp_path):
    made = node(tmp_path, "saw-k8s-ha-01")
    made.salt["preflight_kernel.findings"] = lambda: pytest.fail("it runs no containers")
    assert made.salt["preflight.findings"]()["findings"] == []


def test_the_network_is_asked_while_the_rest_is_looked_at(tmp_path):
    made = node(tmp_path)
    url = "https://dl.k8s.io/kubeadm"
    probes: dict[Any, Any] = {("artefact", url): lambda: time.sleep(0.5) or "refused", ("nodes", ""): list}
    made.salt["preflight_network.probes"] = lambda role, begun, peers: probes
    made.salt["preflight_disk.findings"] = lambda *_: time.sleep(0.5) or []
    began = time.monotonic()
    (found,) = made.salt["preflight.findings"]()["findings"]
    assert found["what"] == "dl.k8s.io:443 does not answer (refused)"
    assert time.monotonic() - began < 0.95


def test_what_never_answers_is_not_waited_for(tmp_path):
    made = node(tmp_path)
    vars(made.modules["preflight"])["NETWORK_S"] = 0.2
    probes: dict[Any, Any] = {("artefact", "https://dl.k8s.io/k"): lambda: time.sleep(60), ("nodes", ""): list}
    made.salt["preflight_network.probes"] = lambda role, begun, peers: probes
    (found,) = made.salt["preflight.findings"]()["findings"]
    assert found["what"] == "dl.k8s.io:443 does not answer (no answer within 0.2 s)"
    # Nor at the end of the process, which every job of a minion is.
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.endswith("(_call)"))


def test_who_is_up_is_passed_on(tmp_path):
    made, seen = node(tmp_path), []
    made.salt["preflight_network.probes"] = lambda role, begun, peers: seen.append(peers) or {("nodes", ""): list}
    made.salt["preflight.findings"](peers=["saw-k8s-m-02"])
    assert seen == [["saw-k8s-m-02"]]


def test_a_finding():
    module = Node.__new__(Node)
    module.salt, module.pillar, module.opts = {}, {}, {}
    finding = module._load("_modules", "preflight").finding("disk-full", "a", "b", "c", "d")
    assert finding == {"code": "disk-full", "what": "a", "where": "b", "why": "c", "remedy": "d"}


def test_the_clock(tmp_path):
    assert abs(node(tmp_path).salt["preflight.clock"]() - time.time()) < 5


@pytest.mark.parametrize("name", ["saw-k8s-m-01", "saw-k8s-w-01", "saw-k8s-ha-01"])
def test_all_parts_together_on_this_machine(tmp_path, name):
    """Nothing replaced but what would leave this machine: whatever is found has all five words and can be sent."""
    made = Node(tmp_path, node_pillar.build(CLUSTER, name), PARTS + OTHERS, minion_id=name)
    made.pillar["saltern"]["paths"]["work"] = str(tmp_path / "work")
    made.salt["preflight_network.probes"] = lambda role, begun, peers: {("nodes", ""): list}
    made.salt["pkg.list_pkgs"] = dict
    report = made.salt["preflight.findings"]()
    assert all(set(found) == {"code", "what", "where", "why", "remedy"} for found in report["findings"])
    # This machine is no node of the table.
    assert "address-missing" in [found["code"] for found in report["findings"]]
    json.dumps(report)
