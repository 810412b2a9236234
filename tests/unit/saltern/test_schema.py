"""Single fields: what is said about each kind of mistake, and that rules go on beside it."""

from __future__ import annotations

from shutil import copy
from typing import get_args

import pytest
from pydantic import BaseModel

from saltern import definition
from saltern.model import Cluster
from saltern.schema import field_at
from tests.unit.saltern.definitions import COMPLETED, SHIPPED, data, report, write

# title, overlay of cluster.sls, path, value, part of the rule, remedy
CASES = [
    ("unknown key", {"cluster": {"nme": "x"}}, "cluster.nme", "", "unknown key", "did you mean name?"),
    ("unknown part", {"proxmoxx": {}}, "proxmoxx", "", "unknown key", "did you mean proxmox?"),
    ("unlike any key", {"cluster": {"qqq": 1}}, "cluster.qqq", "", "unknown key", "Known here: name, network"),
    ("unknown key of a row", {"nodes": {"saw-k8s-w-01": {"cpu": 2}}}, "nodes.saw-k8s-w-01.cpu", "", "unknown", "cpus?"),
    (
        "unknown role",
        {"nodes": {"saw-k8s-w-01": {"role": "master"}}},
        "nodes.saw-k8s-w-01.role",
        "master",
        "'load_balancer', 'control_plane' or 'worker'",
        "control_plane (a master)",
    ),
    ("no CPU", {"nodes": {"saw-k8s-w-01": {"cpus": 0}}}, "nodes.saw-k8s-w-01.cpus", "0", "greater", "1 or more"),
    (
        "negative memory",
        {"nodes": {"saw-k8s-w-01": {"memory_gib": -1}}},
        "nodes.saw-k8s-w-01.memory_gib",
        "-1",
        "",
        "GiB",
    ),
    ("no disk", {"nodes": {"saw-k8s-w-01": {"disk_gib": 0}}}, "nodes.saw-k8s-w-01.disk_gib", "0", "", "whole GiB"),
    (
        "half a GiB",
        {"nodes": {"saw-k8s-w-01": {"memory_gib": 1.5}}},
        "nodes.saw-k8s-w-01.memory_gib",
        "1.5",
        "integer",
        "",
    ),
    (
        "a number in quotes",
        {"nodes": {"saw-k8s-w-01": {"cpus": "2"}}},
        "nodes.saw-k8s-w-01.cpus",
        '"2"',
        "integer",
        "without quotes",
    ),
    ("a word for a switch", {"proxmox": {"onboot": "no"}}, "proxmox.onboot", '"no"', "boolean", "without quotes"),
    ("a switch for a number", {"proxmox": {"parallel_clones": True}}, "proxmox.parallel_clones", "True", "integer", ""),
    (
        "no address",
        {"nodes": {"saw-k8s-w-01": {"address": "192.168.100.300"}}},
        "nodes.saw-k8s-w-01.address",
        "192.168.100.300",
        "not an IPv4 address",
        "like 192.168.100.154",
    ),
    ("a number for an address", {"master": {"address": 5}}, "master.address", "5", "quotes", "IPv4 address"),
    (
        "an address for a network",
        {"cluster": {"network": {"cidr": "192.168.100.1/24"}}},
        "cluster.network.cidr",
        "192.168.100.1/24",
        "the network of this address is 192.168.100.0/24",
        "like 192.168.100.0/24",
    ),
    (
        "a range backwards",
        {"cluster": {"worker_range": "10.0.0.9-10.0.0.1"}},
        "cluster.worker_range",
        "10.0.0.9-10.0.0.1",
        "before",
        "",
    ),
    ("no DNS server", {"cluster": {"network": {"dns": []}}}, "cluster.network.dns", "[]", "at least 1", "like [192"),
    (
        "token too long-lived",
        {"kubeadm": {"token_ttl_minutes": 60}},
        "kubeadm.token_ttl_minutes",
        "60",
        "30",
        "15 to 30",
    ),
    ("a relative path", {"paths": {"sandbox": "opt"}}, "paths.sandbox", "opt", "absolute", "/opt/sandbox"),
    ("the root itself", {"paths": {"sandbox": "/"}}, "paths.sandbox", "/", "absolute", "/opt/sandbox"),
    ("a tag in capitals", {"proxmox": {"tags": ["Salt"]}}, "proxmox.tags.0", "Salt", "tag", "lower-case"),
    (
        "a mirror without scheme",
        {"artefacts": {"mirror": "10.0.0.1:80"}},
        "artefacts.mirror",
        "10.0.0.1:80",
        "URL",
        "http://",
    ),
    (
        "a node port too low",
        {"haproxy": {"ingress": {"http_node_port": 80, "https_node_port": 30443}}},
        "haproxy.ingress.http_node_port",
        "80",
        "30000",
        "",
    ),
    (
        "half an ingress",
        {"haproxy": {"ingress": {"http_node_port": 30080}}},
        "haproxy.ingress.https_node_port",
        "",
        "missing",
        "add",
    ),
    ("no row at all", {"nodes": {"saw-k8s-w-01": 5}}, "nodes.saw-k8s-w-01", "5", "", ""),
]


@pytest.mark.parametrize(
    ("overlay", "path", "value", "rule", "remedy"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_wrong_field_is_the_one_finding(tmp_path, overlay, path, value, rule, remedy):
    found = report(tmp_path, cluster=overlay).errors
    assert [(finding.path, finding.value) for finding in found] == [(path, value)]
    assert rule in found[0].rule
    assert remedy in found[0].remedy


def test_a_new_row_lacks_what_nobody_wrote(tmp_path):
    found = report(tmp_path, cluster={"nodes": {"saw-k8s-w-05": {"role": "worker"}}}).errors
    assert [finding.path for finding in found] == [
        f"nodes.saw-k8s-w-05.{name}" for name in ("address", "cpus", "memory_gib", "disk_gib")
    ]
    assert found[0].remedy == "add address: an IPv4 address, like 192.168.100.154"


REQUIRED = ["cluster", "nodes", "master", "metallb"]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_part_is_one_finding_and_the_rest_is_still_checked(tmp_path, name):
    cluster = data()
    del cluster[name]
    cluster["kubelet"] = {"confg": {}}
    found = definition.check([write(tmp_path / "own", cluster=cluster), *complete_versions(tmp_path)])
    assert {finding.path for finding in found.errors} == {name, "kubelet.confg"}


@pytest.mark.parametrize("name", ["name", "network"])
def test_a_missing_setting_is_one_finding(tmp_path, name):
    cluster = data()
    del cluster["cluster"][name]
    found = definition.check([write(tmp_path / "own", cluster=cluster), *complete_versions(tmp_path)])
    assert [finding.path for finding in found.errors] == [f"cluster.{name}"]


def complete_versions(tmp_path):
    """versions.sls of the shipped definition, complete, without its cluster.sls."""
    (tmp_path / "versions").mkdir()
    copy(SHIPPED / "versions.sls", tmp_path / "versions")
    return [tmp_path / "versions", write(tmp_path / "sums", versions=COMPLETED)]


def test_a_wrong_field_of_a_row_hides_nothing_else_of_it(tmp_path):
    rows = {"saw-k8s-w-01": {"cpus": 0, "address": "192.168.100.157"}, "saw-k8s-m-03": None}
    found = report(tmp_path, cluster={"nodes": rows}).errors
    assert {finding.path for finding in found} == {"nodes", "nodes.saw-k8s-w-01.cpus", "nodes.saw-k8s-w-04.address"}


def test_an_unknown_role_is_not_counted_as_another(tmp_path):
    found = report(tmp_path, cluster={"nodes": {"saw-k8s-m-03": {"role": "master"}}}).errors
    assert [finding.path for finding in found] == ["nodes.saw-k8s-m-03.role"]


def test_a_part_of_another_type_is_one_finding(tmp_path):
    found = report(tmp_path, cluster={"cluster": 5}).errors
    assert [finding.path for finding in found] == ["cluster"]


def test_every_field_says_what_to_write():
    """A field without a description would leave the operator without a remedy."""
    pending, seen = [Cluster], []
    while pending:
        model = pending.pop()
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            seen.append(name)
            pending += [kind for kind in model_types(field.annotation) if kind not in pending]
    assert len(seen) > 60


def model_types(annotation):
    """The model's classes that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in model_types(part)]


def test_a_field_is_found_by_the_name_that_the_file_uses():
    assert field_at(("cluster", "network", "cidr")).description == "the machines' network, like 192.168.100.0/24"
    assert field_at(("registries", "mirrors", "0", "insecure")).description == "true for plain HTTP, else false"
    assert field_at(("settings",)) is None
