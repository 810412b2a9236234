"""What is fetched from where, and where its files go."""

from __future__ import annotations

import pytest

from saltern import artefacts
from tests.unit.saltern.definitions import shipped


def built(tmp_path, name="saw-k8s-m-01", cluster=None, versions=None):
    """The artefacts of a node by name."""
    found = shipped(tmp_path, cluster, versions)
    return {item["name"]: item for item in artefacts.build(found, found.nodes[name], "amd64")}


def placed(item):
    """Where each file goes, by its own name."""
    return {file["path"].rpartition("/")[2]: file["path"].rpartition("/")[0] for file in item["files"]}


def test_artefacts_of_each_role(tmp_path):
    everywhere = ["crio", "kubelet", "kubeadm", "kubectl"]
    assert list(built(tmp_path, "saw-k8s-w-01")) == everywhere
    assert list(built(tmp_path)) == [*everywhere, "helm", "k9s", "cilium-cli", "cilium-chart", "metallb-chart"]
    assert built(tmp_path, "saw-k8s-ha-01") == {}


def test_a_disabled_artefact_is_not_there(tmp_path):
    assert "cilium-cli" not in built(tmp_path, cluster={"artefacts": {"disabled": ["cilium-cli", "etcdctl"]}})


def test_a_plain_binary(tmp_path):
    assert built(tmp_path)["kubeadm"] == {
        "name": "kubeadm",
        "version": "1.36.4",
        "url": "https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubeadm",
        "sha256": "10d054585907f2c8bb823c84f6a66b3bd2a474c3d795475f04e9a44f78650fe6",
        "format": "binary",
        "files": [{"member": None, "path": "/opt/sandbox/bin/kubeadm", "mode": "0755"}],
        "links": [{"path": "/usr/local/bin/kubeadm", "target": "/opt/sandbox/bin/kubeadm"}],
    }


def test_the_links_are_the_documents(tmp_path):
    links = {link["path"] for item in built(tmp_path).values() for link in item["links"]}
    assert links == {f"/usr/local/bin/{name}" for name in ("kubeadm", "kubelet", "kubectl", "k9s", "helm", "cilium")}


@pytest.mark.parametrize(
    ("name", "member", "path"),
    [
        ("helm", "linux-amd64/helm", "/opt/sandbox/bin/helm"),
        ("k9s", "k9s", "/opt/sandbox/bin/k9s"),
        ("cilium-cli", "cilium", "/opt/sandbox/bin/cilium"),
        ("etcdctl", "etcd-v3.6.16-linux-amd64/etcdctl", "/opt/sandbox/bin/etcdctl"),
        ("cilium-chart", None, "/opt/sandbox/charts/cilium-1.20.1.tgz"),
        ("metallb-chart", None, "/opt/sandbox/charts/metallb-0.15.3.tgz"),
    ],
)
def test_single_files(tmp_path, name, member, path):
    versions = {"artefacts": {"etcdctl": {"sha256": {"amd64": "e" * 64}}}}
    (file,) = built(tmp_path, cluster={"artefacts": {"disabled": []}}, versions=versions)[name]["files"]
    assert (file["member"], file["path"]) == (member, path)


def test_the_crio_bundle_goes_where_document_0_wants_it(tmp_path):
    places = placed(built(tmp_path)["crio"])
    assert {name for name, place in places.items() if place == "/opt/sandbox/usr/local/bin"} == {
        "crio",
        "pinns",
        "crictl",
    }
    helpers = {name for name, place in places.items() if place == "/opt/sandbox/usr/libexec/crio"}
    assert helpers == {"conmon", "conmonrs", "crun", "runc"}
    plugins = {name for name, place in places.items() if place == "/opt/sandbox/opt/cni/bin"}
    assert {"loopback", "bridge", "host-local", "portmap"} < plugins
    assert places["10-crio.conf"] == "/opt/sandbox/usr/share/crio"


def test_the_crio_bundles_members_are_upstreams(tmp_path):
    members = {file["path"].rpartition("/")[2]: file["member"] for file in built(tmp_path)["crio"]["files"]}
    assert members["runc"] == "cri-o/bin/runc"
    assert members["loopback"] == "cri-o/cni-plugins/loopback"
    assert members["10-crio.conf"] == "cri-o/etc/10-crio.conf"


def test_programs_can_be_run_and_data_cannot(tmp_path):
    modes = {file["path"]: file["mode"] for item in built(tmp_path).values() for file in item["files"]}
    data = {path for path, mode in modes.items() if mode == "0644"}
    assert data == {
        "/opt/sandbox/usr/share/crio/10-crio.conf",
        "/opt/sandbox/charts/cilium-1.20.1.tgz",
        "/opt/sandbox/charts/metallb-0.15.3.tgz",
    }
    assert {mode for path, mode in modes.items() if path not in data} == {"0755"}


def test_what_a_build_of_the_bundle_lacks_is_left_out(tmp_path):
    versions = {"artefacts": {"crio": {"omit": ["conmonrs", "crun", "vrf"]}}}
    names = set(placed(built(tmp_path, versions=versions)["crio"]))
    assert not names & {"conmonrs", "crun", "vrf"}
    assert {"conmon", "runc", "vlan"} < names


@pytest.mark.parametrize(
    ("mirror", "url"),
    [
        (None, "https://get.helm.sh/helm-v4.2.3-linux-amd64.tar.gz"),
        ("http://192.168.100.1:8080", "http://192.168.100.1:8080/get.helm.sh/helm-v4.2.3-linux-amd64.tar.gz"),
        ("http://mirror/artefacts/", "http://mirror/artefacts/get.helm.sh/helm-v4.2.3-linux-amd64.tar.gz"),
    ],
)
def test_a_mirror_has_the_vendors_hosts_below_its_root(tmp_path, mirror, url):
    assert built(tmp_path, cluster={"artefacts": {"mirror": mirror}})["helm"]["url"] == url
