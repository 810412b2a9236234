"""Each rule: one definition that breaks it, the key that is named, and what is said."""

from __future__ import annotations

from typing import Any

import pytest

from saltern.findings import Finding
from saltern.option_rules import registry_of
from tests.unit.saltern.definitions import PAIR, report


def row(role: str, last: int, **fields: object) -> dict[str, object]:
    """A row of the table."""
    return {"role": role, "address": f"192.168.100.{last}", "cpus": 2, "memory_gib": 8, "disk_gib": 20} | fields


def pool(*ranges: str) -> dict[str, object]:
    return {"metallb": {"pools": {"default": list(ranges)}}}


def settings(**fields: object) -> dict[str, object]:
    return {"cluster": fields}


def node(name: str, **fields: object) -> dict[str, object]:
    return {"nodes": {name: fields}}


def pair(**parts: dict[str, object]) -> dict[str, object]:
    """Two load balancers that share an address, and parts of the definition beside."""
    return PAIR | parts | {"cluster": PAIR["cluster"] | parts.get("cluster", {})}


# title, overlay of cluster.sls, path, part of the rule, part of the remedy
ERRORS = [
    ("services in the pods' network", settings(service_cidr="10.4.0.0/16"), "cluster.pod_cidr", "overlaps", "private"),
    ("pods in the machines' network", settings(pod_cidr="192.168.0.0/16"), "cluster.pod_cidr", "overlaps", "private"),
    ("services in the machines'", settings(service_cidr="192.168.0.0/16"), "cluster.service_cidr", "overlaps", ""),
    ("service network too wide", settings(service_cidr="16.0.0.0/8"), "cluster.service_cidr", "/12 to /28", "/14"),
    ("service network too narrow", settings(service_cidr="10.0.0.0/29"), "cluster.service_cidr", "/12 to /28", ""),
    (
        "fewer shares than nodes",
        settings(pod_cidr="10.4.0.0/22"),
        "cluster.pod_cidr_node_mask",
        "has 4 shares of /24, the table has 7 nodes",
        "above 24",
    ),
    (
        "a share larger than the network",
        settings(pod_cidr="10.4.0.0/25"),
        "cluster.pod_cidr_node_mask",
        "between",
        "from 25 to 30",
    ),
    (
        "share and network too far apart",
        settings(pod_cidr="11.0.0.0/8", pod_cidr_node_mask=25),
        "cluster.pod_cidr_node_mask",
        "16 bits",
        "from 8 to 24",
    ),
    (
        "gateway outside",
        settings(network={"gateway": "192.168.101.1"}),
        "cluster.network.gateway",
        "no host address of the network 192.168.100.0/24",
        "router",
    ),
    (
        "gateway is the broadcast address",
        settings(network={"gateway": "192.168.100.255"}),
        "cluster.network.gateway",
        "no host",
        "",
    ),
    ("address outside", node("saw-k8s-w-01", address="10.1.1.1"), "nodes.saw-k8s-w-01.address", "no host", "free"),
    ("network address", node("saw-k8s-w-01", address="192.168.100.0"), "nodes.saw-k8s-w-01.address", "no host", ""),
    ("broadcast", node("saw-k8s-w-01", address="192.168.100.255"), "nodes.saw-k8s-w-01.address", "no host", ""),
    (
        "address of another row",
        node("saw-k8s-w-04", address="192.168.100.154"),
        "nodes.saw-k8s-w-04.address",
        "is also the address of saw-k8s-w-01",
        "of its own",
    ),
    (
        "address of the gateway",
        node("saw-k8s-w-04", address="192.168.100.1"),
        "nodes.saw-k8s-w-04.address",
        "the gateway",
        "",
    ),
    (
        "address of the master",
        {"master": {"address": "192.168.100.157"}},
        "nodes.saw-k8s-w-04.address",
        "the Salt master",
        "",
    ),
    (
        "virtual address of a node",
        pair(cluster={"virtual_address": "192.168.100.157"}),
        "nodes.saw-k8s-w-04.address",
        "the endpoint",
        "",
    ),
    (
        "virtual address outside",
        pair(cluster={"virtual_address": "10.1.1.1"}),
        "cluster.virtual_address",
        "no host address",
        "free",
    ),
    (
        "virtual address of the gateway",
        pair(cluster={"virtual_address": "192.168.100.1"}),
        "cluster.virtual_address",
        "the gateway",
        "",
    ),
    (
        "two control-plane nodes",
        {"nodes": {"saw-k8s-m-03": None}},
        "nodes",
        "2 control-plane nodes: an even",
        "1, 3 or 5",
    ),
    (
        "four control-plane nodes",
        {"nodes": {"saw-k8s-m-04": row("control_plane", 190)}},
        "nodes",
        "4 control-plane nodes: an even number of etcd members tolerates no more failures than 3",
        "1, 3 or 5",
    ),
    (
        "no control plane",
        {"nodes": {f"saw-k8s-m-0{number}": None for number in (1, 2, 3)}},
        "nodes",
        "no control-plane node",
        "control_plane",
    ),
    ("no load balancer", {"nodes": {"saw-k8s-ha-01": None}}, "nodes", "no load balancer", "load_balancer"),
    (
        "two load balancers without a shared address",
        {"nodes": {"saw-k8s-ha-02": row("load_balancer", 158)}},
        "cluster.virtual_address",
        "2 load balancers",
        "free address",
    ),
    (
        "a shared address and one load balancer",
        settings(virtual_address="192.168.100.149"),
        "cluster.virtual_address",
        "1 load balancer shares its address with nobody",
        "add a row with the role load_balancer, or write null",
    ),
    (
        "virtual address of a DNS server",
        pair(cluster={"virtual_address": "192.168.100.2", "network": {"dns": ["192.168.100.2"]}}),
        "cluster.virtual_address",
        "of a DNS server",
        "",
    ),
    (
        "virtual address in a pool",
        pair(cluster={"virtual_address": "192.168.100.205"}),
        "metallb.pools.default",
        "touches the address of the endpoint (192.168.100.205)",
        "",
    ),
    (
        "the API on the port of keepalived's check",
        pair(cluster={"api_port": 8405}),
        "cluster.api_port",
        "HAProxy answers keepalived on 8405",
        "6443",
    ),
    (
        "statistics on the API's port",
        {"haproxy": {"stats": {"bind": "127.0.0.1:6443"}}},
        "haproxy.stats.bind",
        "the API listens on 6443",
        "127.0.0.1:8404",
    ),
    (
        "statistics on the port of keepalived's check",
        pair(haproxy={"stats": {"bind": "127.0.0.1:8405"}}),
        "haproxy.stats.bind",
        "HAProxy answers keepalived on 8405",
        "127.0.0.1:8404",
    ),
    (
        "statistics on no port",
        {"haproxy": {"stats": {"bind": "127.0.0.1:84040"}}},
        "haproxy.stats.bind",
        "no port",
        "127.0.0.1:8404",
    ),
    (
        "statistics for everybody",
        {"haproxy": {"stats": {"bind": "192.168.100.150:8404"}}},
        "haproxy.stats.allow",
        "anybody who reaches 192.168.100.150:8404",
        "name the networks",
    ),
    (
        "statistics on an address that one of two has",
        pair(haproxy={"stats": {"bind": "192.168.100.150:8404", "allow": ["192.168.100.0/24"]}}),
        "haproxy.stats.bind",
        "not each load balancer (192.168.100.150, 192.168.100.148) has this address",
        "*:8404",
    ),
    (
        "no worker",
        {"nodes": {f"saw-k8s-w-0{number}": None for number in (1, 2, 3, 4)}},
        "nodes",
        "no worker",
        "worker",
    ),
    ("one CPU", node("saw-k8s-m-01", cpus=1), "nodes.saw-k8s-m-01.cpus", "2 CPUs", "2 or more"),
    ("one GiB", node("saw-k8s-m-01", memory_gib=1), "nodes.saw-k8s-m-01.memory_gib", "2 GiB", "2 or more"),
    (
        "no host name",
        {"nodes": {"saw_k8s_w_05": row("worker", 190)}},
        "nodes.saw_k8s_w_05",
        "not a DNS label",
        "saw-k8s-w-05",
    ),
    (
        "pool's name",
        {"metallb": {"pools": {"My Pool": ["192.168.100.230/31"]}}},
        "metallb.pools.My Pool",
        "DNS",
        "my-pool",
    ),
    (
        "pool on a node",
        pool("192.168.100.157-192.168.100.158"),
        "metallb.pools.default",
        "saw-k8s-w-04 (192.168.100.157)",
        "",
    ),
    ("pool on the endpoint", pool("192.168.100.140-192.168.100.150"), "metallb.pools.default", "saw-k8s-ha-01", ""),
    (
        "pool on the gateway",
        pool("192.168.100.1-192.168.100.9"),
        "metallb.pools.default",
        "the gateway (192.168.100.1)",
        "",
    ),
    (
        "pool on the worker range",
        pool("192.168.100.189-192.168.100.191"),
        "metallb.pools.default",
        "new worker",
        "move",
    ),
    (
        "pool outside",
        pool("10.1.1.1-10.1.1.9"),
        "metallb.pools.default",
        "does not lie within",
        "within 192.168.100.0/24",
    ),
    (
        "pool with the broadcast address",
        pool("192.168.100.240-192.168.100.255"),
        "metallb.pools.default",
        "lie within",
        "",
    ),
    (
        "pools on each other",
        {"metallb": {"pools": {"second": ["192.168.100.220-192.168.100.230"]}}},
        "metallb.pools.second",
        "touches metallb.pools.default = 192.168.100.200-192.168.100.220",
        "move",
    ),
    ("empty pool", pool(), "metallb.pools.default", "empty", "FIRST-LAST"),
    (
        "worker range on a node",
        settings(worker_range="192.168.100.153-192.168.100.160"),
        "cluster.worker_range",
        "touches the address of saw-k8s-m-03 (192.168.100.153)",
        "",
    ),
    (
        "worker range outside",
        settings(worker_range="10.1.1.1-10.1.1.9"),
        "cluster.worker_range",
        "does not lie within",
        "",
    ),
    (
        "unknown artefact off",
        {"artefacts": {"disabled": ["etcdctl", "k8s"]}},
        "artefacts.disabled",
        "no such artefact",
        "k9s",
    ),
    (
        "needed artefact off",
        {"artefacts": {"disabled": ["etcdctl", "kubelet"]}},
        "artefacts.disabled",
        "cannot do without",
        "",
    ),
    ("one root in another", {"paths": {"work": "/opt/sandbox/work"}}, "paths.work", "lies in paths.sandbox", "its own"),
    ("one root twice", {"paths": {"work": "/opt/sandbox"}}, "paths.work", "lies in paths.sandbox", "its own"),
    (
        "API on an ingress port",
        {"cluster": {"api_port": 443}, "haproxy": {"ingress": {"http_node_port": 30080, "https_node_port": 30443}}},
        "cluster.api_port",
        "80 and 443",
        "6443",
    ),
    (
        "image from elsewhere",
        {"verification": {"image": "nginx"}},
        "verification.image",
        "docker.io",
        "registries.allowed",
    ),
    (
        "pause image not allowed",
        {"registries": {"allowed": ["quay.io"]}, "verification": {"enabled": False}},
        "pause_image",
        "registry.k8s.io",
        "allowed",
    ),
    ("CRI-O key that is derived", {"crio": {"crio.root": "/x"}}, "crio.crio.root", "paths.sandbox", "delete"),
    (
        "no CRI-O key",
        {"crio": {"log_level": "debug"}},
        "crio.log_level",
        "not a key of CRI-O",
        "crio.runtime.log_level",
    ),
]


def artefact(name: str, **fields: object) -> dict[str, object]:
    """An overlay of versions.sls."""
    return {"artefacts": {name: fields}}


# title, overlay of versions.sls, path, part of the rule, part of the remedy
VERSION_ERRORS = [
    (
        "CRI-O of another minor",
        {"crio": "1.35.2", **artefact("crio", version="1.35.2")},
        "crio",
        "kubelet's (1.36.4)",
        "1.36.x",
    ),
    (
        "Kubernetes older than v1beta4",
        {"kubernetes": "1.30.0", "crio": "1.30.0"}
        | {"artefacts": {name: {"version": "1.30.0"} for name in ("kubeadm", "kubelet", "kubectl", "crio")}},
        "kubernetes",
        "v1beta4 from 1.31 on",
        "1.31.0 or newer",
    ),
    ("CRI-O unlike its artefact", {"crio": "1.36.2"}, "artefacts.crio.version", "unlike crio = 1.36.2", "sha256"),
    (
        "kubelet of another patch",
        artefact("kubelet", version="1.36.3"),
        "artefacts.kubelet.version",
        "unlike kubernetes = 1.36.4",
        "write 1.36.4",
    ),
    (
        "unknown artefact",
        artefact("kubelt", version="1.0.0", url="http://a/b", format="binary"),
        "artefacts.kubelt",
        "unknown",
        "kubelet?",
    ),
    ("needed artefact gone", {"artefacts": {"helm": None}}, "artefacts.helm", "missing", "add it"),
    (
        "no sum",
        artefact("kubelet", sha256={"amd64": None}),
        "artefacts.kubelet.sha256",
        "no sha256 for amd64",
        "curl -fLO https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubelet && sha256sum kubelet",
    ),
    (
        "no sum of something optional",
        artefact("k9s", sha256={"amd64": None}),
        "artefacts.k9s.sha256",
        "no sha256 for amd64",
        "artefacts.disabled: [k9s]",
    ),
    (
        "malformed sum",
        artefact("kubelet", sha256={"amd64": "ABC"}),
        "artefacts.kubelet.sha256.amd64",
        "64 lower-case hexadecimal digits",
        "sums by architecture",
    ),
    ("omits what is not in it", artefact("crio", omit=["crum"]), "artefacts.crio.omit", "no such file", "crun"),
    ("omits what is needed", artefact("crio", omit=["runc"]), "artefacts.crio.omit", "cannot do without", ""),
    (
        "omits from a single file",
        artefact("kubelet", omit=["kubelet"]),
        "artefacts.kubelet.omit",
        "cannot do without",
        "",
    ),
    ("not a full version", {"kubernetes": "1.36"}, "kubernetes", "three numbers", "in quotes"),
    ("a version that YAML reads as a number", {"crio": 1.36}, "crio", "put it in quotes", ""),
]


def cases(names: tuple[str, ...], table: list[tuple[Any, ...]]) -> pytest.MarkDecorator:
    """Parametrise a test by a table whose first column is the case's title."""
    return pytest.mark.parametrize(names, [case[1:] for case in table], ids=[case[0] for case in table])


def check(found: tuple[Finding, ...], path: str, rule: str, remedy: str) -> None:
    """Exactly one finding, about that key, with that text."""
    assert [finding.path for finding in found] == [path]
    assert rule in found[0].rule
    assert remedy in found[0].remedy


@cases(("overlay", "path", "rule", "remedy"), ERRORS)
def test_a_broken_rule_is_the_one_finding(tmp_path, overlay, path, rule, remedy):
    check(report(tmp_path, cluster=overlay).errors, path, rule, remedy)


@cases(("overlay", "path", "rule", "remedy"), VERSION_ERRORS)
def test_a_broken_rule_about_versions_is_the_one_finding(tmp_path, overlay, path, rule, remedy):
    check(report(tmp_path, versions=overlay).errors, path, rule, remedy)


# title, overlay of cluster.sls, of versions.sls, path, part of the rule
WARNINGS = [
    (
        "one control-plane node",
        {"nodes": {"saw-k8s-m-02": None, "saw-k8s-m-03": None}},
        None,
        "nodes",
        "1 control-plane node",
    ),
    (
        "seven control-plane nodes",
        {"nodes": {f"saw-k8s-m-1{number}": row("control_plane", 190 + number) for number in range(4)}},
        None,
        "nodes",
        "7 control-plane nodes: more than 5",
    ),
    (
        "room for the table only",
        settings(pod_cidr="10.4.0.0/20"),
        None,
        "cluster.pod_cidr_node_mask",
        "may come to 37 nodes",
    ),
    (
        "Kubernetes newer than Cilium knows",
        None,
        {"kubernetes": "1.37.0", "crio": "1.37.0"}
        | {"artefacts": {name: {"version": "1.37.0"} for name in ("kubeadm", "kubelet", "kubectl", "crio")}},
        "artefacts.cilium-chart.version",
        "Cilium 1.20 is tested with Kubernetes 1.33 to 1.36, not with 1.37.0",
    ),
    (
        "a Cilium that nothing is known about",
        None,
        artefact("cilium-chart", version="1.21.0"),
        "artefacts.cilium-chart.version",
        "nothing is known here about Cilium 1.21",
    ),
]


@cases(("cluster", "versions", "path", "rule"), WARNINGS)
def test_a_doubt_is_a_warning_and_stops_nothing(tmp_path, cluster, versions, path, rule):
    found = report(tmp_path, cluster=cluster, versions=versions)
    assert found.errors == ()
    assert [finding.path for finding in found.warnings] == [path]
    assert rule in found.warnings[0].rule


# title, overlay of cluster.sls
RIGHT = [
    ("five control-plane nodes", {"nodes": {f"saw-k8s-m-1{n}": row("control_plane", 190 + n) for n in range(2)}}),
    (
        "two load balancers with a shared address",
        PAIR,
    ),
    (
        "small nodes whose check is off",
        {"kubeadm": {"ignore_preflight_errors": ["NumCPU", "Mem"]}, **node("saw-k8s-m-01", cpus=1, memory_gib=1)},
    ),
    ("the gateway as DNS server and as master", {"master": {"address": "192.168.100.1"}}),
    ("no statistics", {"haproxy": {"stats": None}}),
    (
        "statistics for a network",
        {"haproxy": {"stats": {"bind": "192.168.100.150:8404", "allow": ["192.168.100.0/24"]}}},
    ),
    ("statistics of a pair", pair(haproxy={"stats": {"bind": "*:8404", "allow": ["192.168.100.0/24"]}})),
    ("a pool as CIDR", pool("192.168.100.224/28")),
    ("no worker range", settings(worker_range=None)),
    ("workers in the worker range", settings(worker_range="192.168.100.154-192.168.100.160")),
    (
        "an image by its registry and path",
        {
            "registries": {"allowed": ["registry.k8s.io", "quay.io/mine"]},
            "verification": {"image": "quay.io/mine/web:1"},
        },
    ),
]


@cases(("overlay",), RIGHT)
def test_what_is_right_is_not_reported(tmp_path, overlay):
    found = report(tmp_path, cluster=overlay)
    assert (found.errors, found.warnings) == ((), ())


def test_a_disabled_artefact_needs_no_sum(tmp_path):
    off = {"artefacts": {"disabled": ["k9s", "etcdctl"]}}
    assert not report(tmp_path, cluster=off, versions=artefact("k9s", sha256={"amd64": None})).errors


def test_the_architecture_in_use_needs_the_sum(tmp_path):
    found = report(tmp_path, cluster=node("saw-k8s-w-01", arch="arm64")).errors
    assert [finding.path for finding in found] == [
        f"artefacts.{name}.sha256" for name in ("kubeadm", "kubelet", "kubectl", "crio")
    ]
    assert all("arm64" in finding.rule for finding in found)


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("nginx", "docker.io"),
        ("library/nginx:1", "docker.io"),
        ("quay.io/cilium/cilium", "quay.io"),
        ("localhost/x", "localhost"),
        ("mirror:5000/x", "mirror:5000"),
    ],
)
def test_the_registry_of_an_image(image, registry):
    assert registry_of(image) == registry
