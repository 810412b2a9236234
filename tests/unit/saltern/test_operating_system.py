"""Packages, modules, sysctl profiles, directories and mounts, against document 0's lists."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

import pytest

from saltern import node_pillar, operating_system
from tests.unit.saltern.definitions import shipped

WORK = "/tmp/provisioner"  # noqa: S108 - the path that document 0 names

# SHA-256 over "key = value" lines of the three files as document 0 has them (indentation taken off).
DOCUMENT_SUMS = {
    "75-k8s-networking": "9b1da4b94c0988d8445401bc50962fc20795d02efeb780067b6d44f03557bb5f",
    "75-network-performance": "c08a45ee8e7b2690bdc6391c7c145ee1301a92ec95cf1ccd35e12c4422f30d5b",
    "75-inotify": "ea855c31e9498fdacae5c3a36271efecb963e30c3154fd2aa5c96d1d29b083c8",
}


def built(tmp_path, name="saw-k8s-m-01", cluster=None):
    found = shipped(tmp_path, cluster)
    return operating_system.build(found, found.nodes[name])


def test_the_three_profiles_have_4_25_and_2_keys(tmp_path):
    profiles = built(tmp_path)["sysctl"]
    assert {name: len(keys) for name, keys in profiles.items()} == {
        "75-k8s-networking": 4,
        "75-network-performance": 25,
        "75-inotify": 2,
    }


def test_the_profiles_are_the_documents_to_the_letter():
    found = {
        name: hashlib.sha256("".join(f"{key} = {value}\n" for key, value in keys.items()).encode()).hexdigest()
        for name, keys in operating_system.SYSCTL.items()
    }
    assert found == DOCUMENT_SUMS


def test_the_old_profiles_are_named(tmp_path):
    assert built(tmp_path)["obsolete_sysctl"] == ["15-network-performance", "15-k8s-networking", "15-inotify"]


def test_packages_modules_and_services_of_a_kubernetes_node(tmp_path):
    wanted = built(tmp_path)
    assert wanted["packages"] == ["iptables", "gpg", "conntrack", "socat", "ebtables", "nftables", "chrony"]
    assert wanted["absent_packages"] == ["containerd", "containerd.io"]
    assert wanted["modules"] == ["overlay", "br_netfilter"]
    assert wanted["services"] == ["nftables.service", "chrony.service"]
    assert (wanted["refresh"], wanted["upgrade"]) == (True, False)


def test_time_can_be_kept_by_something_else(tmp_path):
    wanted = built(tmp_path, cluster={"os": {"time_sync": False}})
    assert "chrony" not in wanted["packages"]
    assert wanted["services"] == ["nftables.service"]


def test_a_load_balancer_carries_connections_and_no_pods(tmp_path):
    wanted = built(tmp_path, "saw-k8s-ha-01")
    assert wanted["packages"] == ["chrony"]
    assert wanted["services"] == ["chrony.service"]
    assert list(wanted["sysctl"]) == ["75-network-performance"]
    assert (wanted["modules"], wanted["absent_packages"], wanted["bind_mounts"]) == ([], [], [])
    sandbox = [entry["path"] for entry in wanted["directories"] if entry["path"].startswith("/opt/sandbox")]
    assert sandbox == ["/opt/sandbox", "/opt/sandbox/etc", "/opt/sandbox/etc/provisioner"]


BALANCER = {"192.168.100.150": ["saw-k8s-ha-01"]}
CONTROL_PLANE = {f"192.168.100.15{last}": [f"saw-k8s-m-0{last}"] for last in (1, 2, 3)}


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("saw-k8s-ha-01", BALANCER | CONTROL_PLANE),
        ("saw-k8s-m-02", BALANCER | CONTROL_PLANE),
        ("saw-k8s-w-01", BALANCER | {"192.168.100.154": ["saw-k8s-w-01"]}),
    ],
)
def test_a_node_knows_the_names_that_it_needs(tmp_path, name, known):
    assert built(tmp_path, name)["hosts"] == known


def test_a_further_worker_changes_no_other_node(tmp_path):
    """What it costs to add one must not grow with the cluster."""
    row = {"role": "worker", "address": "192.168.100.160", "cpus": 2, "memory_gib": 16, "disk_gib": 20}
    before, after = shipped(tmp_path / "a"), shipped(tmp_path / "b", {"nodes": {"saw-k8s-w-05": row}})
    for name in before.nodes:
        told, then = (node_pillar.build(cluster, name)["saltern"] for cluster in (before, after))
        changed = {key for key in told if told[key] != then[key]}
        assert changed == {"nodes"}  # a list that no state uses


def test_bind_mounts(tmp_path):
    assert built(tmp_path)["bind_mounts"] == [
        {"source": "/opt/sandbox/etc/kubernetes", "path": "/etc/kubernetes"},
        {"source": "/opt/sandbox/var/lib/kubelet", "path": "/var/lib/kubelet"},
        {"source": "/opt/sandbox/var/run/cilium", "path": "/var/run/cilium"},
    ]


@pytest.mark.parametrize("name", ["saw-k8s-ha-01", "saw-k8s-m-01", "saw-k8s-w-01"])
def test_a_directory_comes_after_the_one_that_it_lies_in(tmp_path, name):
    paths = [entry["path"] for entry in built(tmp_path, name)["directories"]]
    assert len(paths) == len(set(paths))
    for path in paths:
        inside = [str(parent) for parent in PurePosixPath(path).parents if str(parent) in paths]
        assert all(paths.index(parent) < paths.index(path) for parent in inside)


def test_every_directory_of_the_sandbox_has_its_parent_named(tmp_path):
    paths = {entry["path"] for entry in built(tmp_path)["directories"]}
    below = [path for path in paths if path.startswith("/opt/sandbox/")]
    assert all(str(PurePosixPath(path).parent) in paths for path in below)


# Below the sandbox, from document 0's tree.
DOCUMENT_TREE = [
    "bin",
    "config",
    "run",
    "storage",
    "etc/crio/keys",
    "etc/default",
    "etc/sysconfig",
    "etc/provisioner",
    "etc/containers/registries.conf.d",
    "etc/cni/net.d",
    "etc/nri/conf.d",
    "etc/kubernetes/pki",
    "var/lib/etcd",
    "var/lib/containers/storage",
    "var/lib/kubelet",
    "var/lib/crio",
    "var/run/cilium",
    "var/run/nri",
    "var/run/containers/storage",
    "var/run/crio/exits",
    "var/logs/crio/pods",
    "run/runc",
    "usr/libexec/crio",
    "usr/lib/systemd/system/kubelet.service.d",
    "usr/local/bin",
    "opt/cni/bin",
    "opt/nri/plugins",
]


def test_the_tree_is_the_documents(tmp_path):
    paths = {entry["path"] for entry in built(tmp_path)["directories"]}
    assert {f"/opt/sandbox/{name}" for name in DOCUMENT_TREE} <= paths
    assert {f"{WORK}/{name}" for name in ("downloads", "unpack", "backup")} <= paths
    assert {f"/opt/provisioner/{name}" for name in ("bin", "logs", "config")} <= paths


def test_owners_and_modes(tmp_path):
    entries = {entry["path"]: entry for entry in built(tmp_path)["directories"]}
    provisioner = {path for path, entry in entries.items() if (entry["user"], entry["group"]) == ("k8s", "k8s")}
    assert provisioner == {"/opt/provisioner", *(f"/opt/provisioner/{name}" for name in ("bin", "logs", "config"))}
    closed = {path for path, entry in entries.items() if entry["mode"] == "0700"}
    assert closed == {
        WORK,
        *(f"{WORK}/{name}" for name in ("downloads", "unpack", "backup")),
        "/var/backups/saltern",
        "/opt/sandbox/etc/crio/keys",
        "/opt/sandbox/var/lib/etcd",
        "/opt/sandbox/run/runc",
    }


def test_what_a_boot_empties_is_told_apart(tmp_path):
    def volatile(**paths):
        found = built(tmp_path / paths["work"].replace("/", "-"), cluster={"paths": paths})
        assert all(entry in found["directories"] for entry in found["volatile_directories"])
        return [(entry["path"], entry["user"]) for entry in found["volatile_directories"]]

    names = ["", *(f"/{name}" for name in ("downloads", "unpack", "backup"))]
    assert volatile(work=WORK) == [(f"{WORK}{name}", "root") for name in names]
    assert volatile(work="/var/lib/provisioner") == []
    assert volatile(work="/srv/tmp/provisioner") == []
    assert volatile(work="/var/lib/work", provisioner="/run/provisioner") == [
        (f"/run/provisioner{name}", "k8s") for name in ("", "/bin", "/logs", "/config")
    ]


def test_charts_are_kept_on_the_control_plane_only(tmp_path):
    def has_charts(name):
        return "/opt/sandbox/charts" in {entry["path"] for entry in built(tmp_path / name, name)["directories"]}

    assert has_charts("saw-k8s-m-01")
    assert not has_charts("saw-k8s-w-01")
