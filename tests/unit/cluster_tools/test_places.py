"""A secret that is put into any of the places is found there, and an installation as it should be has none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.places import KINDS, Places
from tests.cluster.search import Finding, Scanner

from .conftest import CERTIFICATE_KEY, kubeconfig, new_key, write

# A file in each kind of place, and what a finding calls the place; below the node's root, the state directory or a
# directory that all users share.
ANYBODY = {
    "state/salt/cache/master/jobs/83/return.p": "job cache of the master",
    "state/salt/cache/master/minions/node/mine.p": "cache of the master: grains, mine, pillar, states, files",
    "state/salt/cache/master/sessions.bak": "cache of the master: grains, mine, pillar, states, files",
    "state/salt/log/cloud": "log of the master and of salt-cloud",
    "state/lab/log/node-100.console": "log of a service, console of a node",
    "state/k8s/runs/20260101.json": "records and locks of runs",
    "state/k8s/lock": "records and locks of runs",
    "state/proxmox/provider/slots/1": "records and locks of machines",
    "state/pillar/cluster.sls": "overlay of the definition",
    "state/lab/proxmox/tasks/1.json": "Proxmox: machines, tasks, seed images",
    "state/lab/proxmox/storage/local/template/iso/seed.iso": "Proxmox: machines, tasks, seed images",
    "node/var/cache/salt/minion/proc/20260101": "cache of the minion node",
    "node/var/log/cloud-init-output.log": "logs of node",
    "worker/var/log/pods/pod/0.log": "logs of worker",
}
OTHERS = {
    "node/etc/kubernetes/admin.conf.bak": "readable by others on node",
    "worker/tmp/deep/file": "readable by others on worker",
    "worker/opt/sandbox/etc/x": "readable by others on worker",
    "state/kubeconfig": "readable by others on the master",
    "shared/tmp/x": "readable by others on the master",
}


def leaks(places: Places) -> list[Finding]:
    """All that is found of all secrets in all places."""
    known = places.secrets(), places.certificate_keys()
    scanner, of_known_value = Scanner(*known), Scanner(*known, patterns=())
    found = [finding for place, files in places.searched() for finding in scanner.files(place, files)]
    return found + [finding for place, files in places.shared() for finding in of_known_value.files(place, files)]


def value(places: Places, path: str) -> bytes:
    """The secret that a file of the installation holds."""
    for root in (places.state, *places.nodes.values()):
        if (root / path).exists():
            text = (root / path).read_bytes().strip()
            return text.partition(b"=")[2] if path.endswith(".token") else text
    raise FileNotFoundError(path)


def test_every_kind_is_collected_and_nothing_is_found_where_all_is_as_it_should_be(places: Places) -> None:
    assert {secret.kind for secret in places.secrets()} == KINDS
    assert len(places.certificate_keys()) == 1
    assert leaks(places) == []


@pytest.mark.parametrize(("path", "place"), (ANYBODY | OTHERS).items())
def test_a_leak_is_found_in_each_place(places: Places, tmp_path: Path, path: str, place: str) -> None:
    mode = 0o644 if path in OTHERS else 0o600
    planted = write(tmp_path / path, b"\x93noise " + value(places, "lab/proxmox/credentials/salt@pve.password"), mode)
    assert leaks(places) == [Finding(place, str(planted), "Proxmox password (master: salt@pve.password)")]


@pytest.mark.parametrize("path", OTHERS)
def test_a_file_that_others_cannot_read_is_none(places: Places, tmp_path: Path, path: str) -> None:
    write(tmp_path / path, value(places, "lab/proxmox/credentials/salt@pve.password"), 0o640)
    assert leaks(places) == []


@pytest.mark.parametrize(
    ("path", "secret"),
    {
        "etc/salt/pki/minion/minion.pem": "minion key (node: minion.pem)",
        "etc/ssh/ssh_host_ecdsa_key": "host key of ssh (node: ssh_host_ecdsa_key)",
        "etc/kubernetes/pki/ca.key": "cluster key (node: ca.key)",
        "etc/kubernetes/pki/etcd/server.key": "etcd key (node: server.key)",
        "var/lib/kubelet/pki/kubelet.key": "kubelet key (node: kubelet.key)",
        "salt/pki/master/vm.pem": "master key (master: vm.pem)",
        "lab/ca/ca.key": "key of the lab's CA (master: ca.key)",
        "lab/proxmox/tls/server.key": "key of the Proxmox API (master: server.key)",
        "lab/ssh/id_ed25519": "ssh key of the operator (master: id_ed25519)",
        "salt/cache/master/.root_key": "key of the master's users (master: .root_key)",
        "salt/cache/master/sessions/node": "session key of a minion (master: node)",
        "lab/proxmox/credentials/salt@pve!salt.token": "Proxmox token (master: salt@pve!salt.token)",
        "lab/proxmox/credentials/ticket.key": "key of the Proxmox tickets (master: ticket.key)",
    }.items(),
)
def test_each_kind_of_secret_is_found(places: Places, path: str, secret: str) -> None:
    write(places.state / "salt/log/master", value(places, path))
    assert {found.secret for found in leaks(places)} - {"private key of unknown origin"} == {secret}


def test_what_is_in_no_file_of_its_own_is_found(places: Places) -> None:
    key = value(places, "etc/kubernetes/admin.conf")
    joined = f"--token abcdef.0123456789abcdef --certificate-key {CERTIFICATE_KEY}"
    write(places.state / "salt/log/master", joined.encode())
    write(places.state / "salt/log/minion", kubeconfig(b"") + key)
    assert {found.secret for found in leaks(places)} == {
        "bootstrap token (node: bootstrap-token-abcdef)",
        "certificate key",
        "key of a kubeconfig (node: etc/kubernetes/admin.conf)",
    }


def test_what_a_highstate_has_compared_is_left_out_and_so_is_the_kernel(places: Places, tmp_path: Path) -> None:
    for path in ("opt/sandbox/bin/kubelet", "proc/1/environ", "sys/x"):
        write(tmp_path / "node" / path, value(places, "lab/ca/ca.key"), 0o644)
    assert leaks(places) == []


def test_a_key_of_somebody_elses_is_no_finding_in_a_shared_directory(places: Places, tmp_path: Path) -> None:
    write(tmp_path / "shared/id_ecdsa", new_key(), 0o644)
    assert leaks(places) == []
    write(tmp_path / "node/tmp/id_ecdsa", new_key(), 0o644)
    assert [found.secret for found in leaks(places)] == ["private key of unknown origin"]


def test_a_shared_directory_that_holds_the_state_is_searched_once(places: Places, tmp_path: Path) -> None:
    write(tmp_path / "state/kubeconfig", value(places, "lab/ca/ca.key"), 0o644)
    assert len({found.file for found in leaks(replace(places, elsewhere=(tmp_path,)))}) == 1
