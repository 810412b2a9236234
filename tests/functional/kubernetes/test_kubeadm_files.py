"""The files of a member as the real kubeadm renders them, and the states that keep them; no API server is needed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.functional.kubernetes.conftest import tool
from tests.salt_node import Node
from tests.unit.modules.member import ENDPOINT, MODULES, certificate, kubeconfig, pillar

SENTENCE = "The control plane runs as defined"
TAINT = "--register-with-taints=node.cilium.io/agent-not-ready=true:NoExecute"
OWN = "saw-k8s-m-01=https://192.168.100.151:2380"


class Kept(Node):
    """A member whose files were written by kubeadm; `pods` counts how often the kubelet made each static pod anew."""

    def __init__(self, root: Path, role: str) -> None:
        own: dict[str, Any] = pillar(role)
        modules = [*MODULES, "running_binary", "static_pod", "unit_restart"]
        super().__init__(root, own, modules, own["saltern"]["node"]["name"])
        (self.sandbox / "bin" / "kubeadm").symlink_to(tool("kubeadm"))
        vars(self.modules["kubeadm_run"])["RUN_DIRECTORY"] = str(root / "run")
        vars(self.modules["unit_restart"])["_path"] = lambda unit, _directory: root / "restarts" / f"{unit}.json"
        self.salt["node_facts.resolv_conf"] = lambda: "/run/systemd/resolve/resolv.conf"
        self.salt["kubeadm_facts.endpoint_trusted"] = lambda: True
        self.salt["artefact.record"] = lambda _name, _records: None
        self.salt["artefact.difference"] = lambda _artefact, _records: None
        self.salt["turn.during"] = self.during
        self.salt["kubeconfig_endpoints.containers"] = self.containers
        self.turns: list[str] = []
        for name in ("admin.conf", "kubelet.conf"):
            self.file("etc", "kubernetes", name, text=kubeconfig(ENDPOINT))
        self.file("etc", "kubernetes", "pki", "ca.crt").write_bytes(certificate())
        (self.sandbox / "var/lib/etcd/member").mkdir(parents=True)
        self.write("kubelet")
        if role == "control_plane":
            self.write("static_pods", 0o600)

    def during(self, reason: str, act: Callable[[], Any]) -> Any:
        self.turns.append(reason)
        return act()

    def containers(self, name: str) -> list[str]:
        """The kubelet at work: a pod is a new one when its manifest says something else."""
        path = self.manifest(name)
        return [str(hash(str(yaml.safe_load(path.read_text()))))] if path.exists() else []

    def manifest(self, name: str) -> Path:
        return self.sandbox / "etc/kubernetes/manifests" / f"{name}.yaml"

    def write(self, what: str, mode: int = 0o644) -> None:
        """What kubeadm wrote at init or join."""
        for path, text in self.salt[f"kubeadm_files.{what}"]().items():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text)
            Path(path).chmod(mode)

    def apply(self, state: str = "static_pods") -> dict[str, Any]:
        """Preview, apply, apply again: the preview tells what is done, the second run finds nothing."""
        self.opts["test"] = True
        preview = getattr(self.state("kubeadm_files"), state)(SENTENCE)
        self.opts["test"] = False
        done: dict[str, Any] = getattr(self.state("kubeadm_files"), state)(SENTENCE)
        assert done["result"] is True, done
        assert (preview["result"], preview["changes"]) == (None if done["changes"] else True, done["changes"]), preview
        again = getattr(self.state("kubeadm_files"), state)(SENTENCE)
        assert (again["result"], again["changes"]) == (True, {}), again
        return done


@pytest.fixture
def member(tmp_path: Path) -> Kept:
    return Kept(tmp_path, "control_plane")


@pytest.fixture
def worker(tmp_path: Path) -> Kept:
    return Kept(tmp_path, "worker")


def test_kubeadm_renders_a_workers_kubelet_as_its_join_does(worker: Kept) -> None:
    files = {Path(path).name: text for path, text in worker.salt["kubeadm_files.kubelet"]().items()}
    flags = files["kubeadm-flags.env"]
    assert flags.startswith(f'KUBELET_KUBEADM_ARGS="{TAINT} ')
    assert "--node-ip=192.168.100.154" in flags
    config = yaml.safe_load(files["config.yaml"])
    assert config["resolvConf"] == "/run/systemd/resolve/resolv.conf"
    assert config["clusterDNS"] == ["10.0.0.10"]
    assert config["authentication"]["x509"]["clientCAFile"].endswith("etc/kubernetes/pki/ca.crt")
    assert not Path("/etc/kubernetes/tmp").exists(), "kubeadm's dry run must leave nothing behind"


def test_a_workers_ca_without_its_key_is_in_nobodys_way(worker: Kept) -> None:
    """A joined worker has ca.crt alone; kubeadm would take that for an external CA and ask for all certificates."""
    directory = worker.sandbox / "etc/kubernetes/pki"
    worker.pillar["saltern"]["kubeadm"]["cluster"]["certificatesDir"] = str(directory)
    (directory / "ca.crt").unlink()
    subprocess.run([tool("kubeadm"), "init", "phase", "certs", "ca", f"--cert-dir={directory}"], check=True)
    (directory / "ca.key").unlink()
    assert len(worker.salt["kubeadm_files.kubelet"]()) == 3


def test_a_control_plane_nodes_kubelet_registers_without_taints(member: Kept) -> None:
    files = {Path(path).name: text for path, text in member.salt["kubeadm_files.kubelet"]().items()}
    assert "register-with-taints" not in files["kubeadm-flags.env"]


@pytest.mark.parametrize("state", ["kubelet", "static_pods"])
def test_what_kubeadm_wrote_is_left_alone(member: Kept, state: str) -> None:
    done = member.apply(state)
    assert (done["changes"], member.turns) == ({}, [])


def test_an_edited_kubelet_configuration_is_mended_and_the_kubelet_restarted(worker: Kept) -> None:
    path = worker.sandbox / "var/lib/kubelet/config.yaml"
    path.write_text(path.read_text().replace("failSwapOn: true", "failSwapOn: false"))
    path.chmod(0o666)
    done = worker.apply("kubelet")
    change = {"failSwapOn": {"old": False, "new": True}, "mode": {"old": "0666", "new": "0644"}}
    assert done["changes"] == {str(path): change}
    assert worker.salt["unit_restart.reasons"]("kubelet.service") == [f"{path} changed"]


def test_a_comment_in_the_kubelets_configuration_goes_without_a_restart(worker: Kept) -> None:
    path = worker.sandbox / "var/lib/kubelet/config.yaml"
    path.write_text("# by hand\n" + path.read_text())
    assert list(worker.apply("kubelet")["changes"][str(path)]) == ["content"]
    assert worker.salt["unit_restart.reasons"]("kubelet.service") == []


def test_a_changed_definition_is_a_difference_too(member: Kept) -> None:
    member.pillar["saltern"]["kubeadm"]["cluster"]["controllerManager"]["extraArgs"][0]["value"] = "25"
    done = member.apply()
    path = str(member.manifest("kube-controller-manager"))
    assert done["changes"] == {path: {"spec.containers.0.command.--node-cidr-mask-size": {"old": "24", "new": "25"}}}
    assert member.turns == ["restart of kube-controller-manager"]


def test_a_removed_and_an_edited_manifest_come_back_in_one_turn(member: Kept) -> None:
    member.manifest("kube-scheduler").unlink()
    path = member.manifest("kube-apiserver")
    path.write_text(path.read_text().replace("--authorization-mode=Node,RBAC", "--authorization-mode=AlwaysAllow"))
    done = member.apply()
    assert done["changes"][str(path)] == {
        "spec.containers.0.command.--authorization-mode": {"old": "AlwaysAllow", "new": "Node,RBAC"}
    }
    assert done["changes"][str(member.manifest("kube-scheduler"))]["content"]["old"] is None
    assert member.turns == ["restart of kube-apiserver, kube-scheduler"]


def test_a_mode_is_mended_without_a_turn(member: Kept) -> None:
    member.manifest("etcd").chmod(0o644)
    done = member.apply()
    assert done["changes"] == {str(member.manifest("etcd")): {"mode": {"old": "0644", "new": "0600"}}}
    assert member.turns == []


@pytest.mark.parametrize(
    "flags",
    [
        # init's, and a join's to a cluster of two
        [f"--initial-cluster={OWN}"],
        [f"--initial-cluster=saw-k8s-m-03=https://192.168.100.153:2380,{OWN}", "--initial-cluster-state=existing"],
    ],
)
def test_the_members_of_its_beginning_stay_in_etcds_manifest(member: Kept, flags: list[str]) -> None:
    path = member.manifest("etcd")
    lines = "".join(f"    - {flag}\n" for flag in flags)
    path.write_text(member.modules["kubeadm_files"].INITIAL_CLUSTER.sub(lines, path.read_text()))
    assert lines in path.read_text()
    assert member.apply()["changes"] == {}


def test_a_lost_manifest_of_etcd_never_begins_a_cluster_of_its_own(member: Kept) -> None:
    member.manifest("etcd").unlink()
    member.apply()
    command = yaml.safe_load(member.manifest("etcd").read_text())["spec"]["containers"][0]["command"]
    members = ",".join(f"saw-k8s-m-0{n}=https://192.168.100.15{n}:2380" for n in (1, 2, 3))
    assert f"--initial-cluster={members}" in command
    assert "--initial-cluster-state=existing" in command


def test_a_lost_member_of_etcd_is_named(member: Kept) -> None:
    member.manifest("etcd").unlink()
    shutil.rmtree(member.sandbox / "var/lib/etcd/member")
    done = member.state("kubeadm_files").static_pods(SENTENCE)
    assert done["result"] is False
    assert "etcd's manifest and its data" in done["comment"]
    assert not member.manifest("etcd").exists()


def images(member: Kept, version: str, names: tuple[str, ...]) -> None:
    for name in names:
        path = member.manifest(name)
        path.write_text(path.read_text().replace(":v1.36.4", f":v{version}"))


def test_one_odd_image_is_drift(member: Kept) -> None:
    images(member, "1.36.0", ("kube-scheduler",))
    (change,) = member.apply()["changes"].values()
    image = "registry.k8s.io/kube-scheduler:v1.36."
    assert change == {"spec.containers.0.image": {"old": f"{image}0", "new": f"{image}4"}}


def test_another_version_throughout_is_an_upgrade_and_left_alone(member: Kept) -> None:
    images(member, "1.36.3", ("kube-apiserver", "kube-controller-manager", "kube-scheduler"))
    done = member.apply()
    assert done["changes"] == {}
    assert "of Kubernetes 1.36.3, the definition wants 1.36.4: that is an upgrade" in done["comment"]


@pytest.mark.parametrize("state", ["kubelet", "static_pods"])
def test_before_the_node_is_a_member_there_is_nothing_to_keep(member: Kept, state: str) -> None:
    for path in (member.sandbox / "etc/kubernetes").glob("*.conf"):
        path.unlink()
    (member.sandbox / "bin/kubeadm").unlink()
    done = member.apply(state)
    assert (done["changes"], done["comment"]) == ({}, f"{SENTENCE}: no member of a cluster yet")


def test_a_kubeadm_that_this_run_installs_first_is_no_failure_of_a_dry_run(member: Kept) -> None:
    (member.sandbox / "bin/kubeadm").unlink()
    path = str(member.sandbox / "bin/kubeadm")
    member.pillar["saltern"]["artefacts"] = [{"name": "kubeadm", "files": [{"path": path}]}]
    member.salt["artefact.difference"] = lambda _artefact, _records: f"{path} is missing"
    assert member.state("kubeadm_files").static_pods(SENTENCE)["result"] is False
    member.opts["test"] = True
    preview = member.state("kubeadm_files").static_pods(SENTENCE)
    assert (preview["result"], preview["changes"]) == (None, {})
    assert f"would be compared once kubeadm is installed ({path} is missing)" in preview["comment"]


def test_a_pod_that_does_not_come_back_is_named(member: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 10))
    fake_time = type("time", (), {"monotonic": lambda: next(clock), "sleep": lambda _seconds: None})
    monkeypatch.setattr(member.modules["static_pod"], "time", fake_time)
    member.salt["kubeconfig_endpoints.containers"] = lambda _name: []
    member.manifest("kube-scheduler").unlink()
    done = member.state("kubeadm_files").static_pods(SENTENCE)
    assert done["result"] is False
    assert "kube-scheduler did not come back within 150 s after its manifest was mended" in done["comment"]
    assert list(done["changes"]) == [str(member.manifest("kube-scheduler"))]
