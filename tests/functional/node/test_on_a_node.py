"""The room os on a booted node: applied, applied again, carried over a daemon-reload by systemd, undone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.nodes.scratch import ScratchNode, scratch_node
from saltern import definition, node_pillar

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def node() -> Iterator[ScratchNode]:
    with scratch_node("saw-k8s-w-01") as booted:
        yield booted


@pytest.fixture(scope="module")
def pillar(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A worker's pillar; packages and their services, which come from the lab's running mirror, are left out."""
    overlay = tmp_path_factory.mktemp("overlay")
    rows = "".join(f'  {chart}: {{sha256: {{any: "{"0" * 64}"}}}}\n' for chart in ("cilium-chart", "metallb-chart"))
    (overlay / "versions.sls").write_text(f"artefacts:\n{rows}")
    pillar = node_pillar.build(definition.load([CHECKOUT / "pillar", overlay]), "saw-k8s-w-01")
    pillar["saltern"]["os"] |= {"packages": [], "services": [], "refresh": False}
    return pillar


def apply(node: ScratchNode, sls: str, pillar: dict[str, Any], test: bool = False) -> dict[str, Any]:
    """Apply an SLS; {state ID: {result, changes, comment}}."""
    returned = node.salt_call("state.apply", sls, test=test, pillar=pillar)
    assert isinstance(returned, dict), returned
    return {row["__id__"]: row for row in returned.values()}


def failed(states: dict[str, Any]) -> dict[str, str]:
    return {name: row["comment"] for name, row in states.items() if row["result"] is False}


def changed(states: dict[str, Any]) -> set[str]:
    return {name for name, row in states.items() if row["changes"]}


def test_a_node_is_prepared_once_and_given_back(node: ScratchNode, pillar: dict[str, Any]) -> None:
    fstab = node.run(["cat", "/etc/fstab"])
    hosts = node.run(["cat", "/etc/hosts"])
    forward = node.run(["sysctl", "-n", "net.ipv4.conf.all.forwarding"])

    preview = apply(node, "os", pillar, test=True)
    assert failed(preview) == {}
    assert node.run(["cat", "/etc/fstab"]) == fstab
    done = apply(node, "os", pillar)
    assert failed(done) == {}
    assert changed(done) <= {name for name, row in preview.items() if row["result"] is None}
    for test in (True, False):
        again = apply(node, "os", pillar, test=test)
        assert (failed(again), changed(again)) == ({}, set())

    assert node.run(["sysctl", "-n", "net.ipv4.conf.all.forwarding"]).strip() == "1"
    assert node.run(["getent", "hosts", "saw-k8s-ha-01"]).split() == ["192.168.100.150", "saw-k8s-ha-01"]
    owners = node.run(["stat", "-c", "%U:%G %a", "/opt/provisioner/logs", "/opt/sandbox/etc/crio/keys"])
    assert owners.splitlines() == ["k8s:k8s 755", "root:root 700"]

    undone = apply(node, "os.clean", pillar)
    assert failed(undone) == {}
    assert node.run(["cat", "/etc/fstab"]) == fstab
    assert node.run(["cat", "/etc/hosts"]) == hosts
    assert node.run(["sysctl", "-n", "net.ipv4.conf.all.forwarding"]) == forward
    assert node.exec(["ls", "/opt/sandbox"])[0] != 0
    again = apply(node, "os.clean", pillar)
    assert (failed(again), changed(again)) == ({}, set())


def test_systemd_mounts_at_boot_what_fstab_says(node: ScratchNode, pillar: dict[str, Any]) -> None:
    """As at a boot: units come from fstab alone, /var/run is a link, the mount point on /run is made anew."""
    assert failed(apply(node, "os", pillar)) == {}
    for path in ("/etc/kubernetes", "/var/lib/kubelet", "/run/cilium"):
        node.run(["umount", path])
    node.run(["rmdir", "/run/cilium"])
    node.run(["systemctl", "daemon-reload"])
    node.run(["systemctl", "start", "etc-kubernetes.mount", "var-lib-kubelet.mount", "run-cilium.mount"])
    again = apply(node, "os", pillar)
    assert (failed(again), changed(again)) == ({}, set())
    assert failed(apply(node, "os.clean", pillar)) == {}
