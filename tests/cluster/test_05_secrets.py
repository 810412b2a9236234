"""After the whole job, no secret of it is where anybody but its owner could read it.

What is searched is in places.py, what is searched for in secrets.py. A marker that is put into each kind of place
proves that they are looked into. Findings name the place and the kind of secret, never the secret.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import processes
from lab.nodes import nspawn
from lab.paths import Paths
from saltern.model import Cluster

from .lab_shell import Shell
from .places import KINDS, Places
from .probe import wait_until
from .recorder import Recorders, heading_at, is_full
from .search import Finding, Scanner
from .secrets import CertificateKeys, Secret, kubernetes_secrets, text_secret

# Longer than what journald keeps uncompressed, shorter than what logger cuts off.
PADDING = "." * 900
MARKER_FILES = ("/run/saltern-marker", "/var/tmp/saltern-marker")  # noqa: S108  (on a node, gone afterwards)
SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/var/cache", "/var/log")  # noqa: S108  (searched, not used)


@pytest.fixture(scope="module")
def places(shell: Shell, table: Cluster) -> Places:
    """The directories of the lab and of its running nodes."""
    machines = shell.json("salt-cloud", "-F", "--out=json")["my-proxmox-config"]["proxmox"]
    paths = Paths.from_environment()
    elsewhere = (paths.checkout, *(Path(path) for path in SHARED))
    nodes = {name: root_of(paths, machines[name]["id"]) for name in table.nodes}
    return Places(paths.state, table.name, nodes, elsewhere)


def root_of(paths: Paths, machine_id: int) -> Path:
    """A running node's root directory with all that is mounted there."""
    process = processes.recorded(paths.run / f"node-{machine_id}.json")
    leader = nspawn.leader(process) if process else None
    assert leader, f"machine {machine_id} does not run"
    return Path(f"/proc/{leader}/root")


@pytest.fixture(scope="module")
def job(owned: bool, shell: Shell, table: Cluster, recorders: Recorders, first_up: str) -> str:
    """The output of the whole job. Of a cluster that was up before, not recorded then: of one more run, and of the act
    of a bring-up that hands secrets around."""
    if owned:
        return first_up
    output = shell.run("salt-run", "state.orchestrate", "orchestrate.cluster", timeout_s=1200).stdout
    return output + join_material(shell, table)


def join_material(shell: Shell, table: Cluster) -> str:
    """What Salt shows of it when a control-plane node makes join material for two others; it is revoked at once."""
    first, second = [name for name, row in table.nodes.items() if row.role == "control_plane"][:2]
    worker = next(name for name, row in table.nodes.items() if row.role == "worker")
    accepted = Path(shell.environment["SALTERN_STATE"]) / "salt/pki/master/minions"
    keys = json.dumps({name: (accepted / name).read_text() for name in (second, worker)})
    made = shell.salt(first, "kubeadm.join_material", keys, f"control_plane=[{second}]")
    revoked = shell.salt(first, "kubeadm.revoke_join_material")
    assert "kubeadm-certs" in revoked[first], f"{first}: nothing was made that could be seen"
    return json.dumps([made, revoked])


@pytest.fixture(scope="module")
def marker(shell: Shell, table: Cluster, job: str, recorders: Recorders) -> Iterator[Secret]:
    """A word that is no secret, told everywhere: as an argument of a job, in a journal, in files that all may read."""
    node, word = next(iter(table.nodes)), f"marker-{uuid.uuid4().hex}"
    script = f"logger {word}{PADDING}; for file in {' '.join(MARKER_FILES)}; do echo {word} >$file; done; sleep 0.3"
    shell.salt(node, "cmd.run", script)
    for recording in recorders.files.values():
        wait_until(f"{recording.name} has the marker", lambda file=recording: word.encode() in file.read_bytes(), 60)
    yield text_secret("marker", node, word.encode())
    shell.salt(node, "cmd.run", f"rm -f {' '.join(MARKER_FILES)}")


@pytest.fixture(scope="module")
def known(places: Places, shell: Shell, job: str) -> tuple[list[Secret], CertificateKeys]:
    """Every secret of the job, and what the certificate keys open."""
    return places.secrets() + kubernetes(shell), places.certificate_keys()


def kubernetes(shell: Shell) -> list[Secret]:
    """What the cluster's Secrets hold."""
    __tracebackhide__ = True
    done = shell.run("kubectl", "get", "secrets", "--all-namespaces", "--output=json", check=False)
    assert done.returncode == 0, f"kubectl get secrets: {done.stderr}"
    return kubernetes_secrets(done.stdout.encode())


@pytest.fixture(scope="module")
def findings(
    places: Places, shell: Shell, table: Cluster, job: str, recorders: Recorders, marker: Secret, known
) -> list[Finding]:
    """All that is found of the secrets and of the marker, everywhere."""
    scanner = Scanner([*known[0], marker], known[1])
    recorders.stop()
    found = scanner.text("output of the job", "make up", job.encode())
    for file in recorders.files.values():
        found += scanner.files("recording", [file], lambda file, offset: f"{file.name}: {heading_at(file, offset)}")
    for place, files in places.searched():
        found += scanner.files(place, files)
    of_known_value = Scanner([*known[0], marker], known[1], patterns=())
    for place, files in places.shared():
        found += of_known_value.files(place, files)
    for node, text in places.journals():
        found += scanner.text("journal", node, text)
    for name, text in told(shell, table):
        found += scanner.text("answer", name, text)
    return found


def told(shell: Shell, table: Cluster) -> Iterator[tuple[str, bytes]]:
    """(command, answer) of what Salt tells about nodes to whoever may ask: grains, mine, pillar (raw: not masked)."""
    nodes = ",".join(table.nodes)
    commands = (
        ("salt", "--static", "--out=json", "-L", nodes, "grains.items"),
        ("salt", "--static", "--out=json", "-L", nodes, "pillar.raw"),
        ("salt", "--static", "--out=json", "-L", nodes, "mine.get", "*", "*"),
        ("salt-run", "--out=json", "cache.mine", "*"),
        ("salt-run", "--out=json", "jobs.list_jobs"),
    )
    for command in commands:
        yield " ".join(command), shell.run(*command, timeout_s=120).stdout.encode()


def test_every_kind_of_secret_has_been_collected(known: tuple[list[Secret], CertificateKeys], table: Cluster) -> None:
    secrets, certificates = known
    missing = KINDS - {secret.kind for secret in secrets}
    assert not missing, "the search for these would prove nothing"
    assert len(certificates) > 0, "etcd remembers no secret kubeadm-certs: no certificate key could be recognised"
    nodes = {secret.origin.partition(":")[0] for secret in secrets}
    assert nodes >= set(table.nodes)


def test_the_recordings_are_complete(findings: list[Finding], recorders: Recorders) -> None:
    assert not [str(file) for file in recorders.files.values() if is_full(file)]


def test_each_kind_of_place_is_looked_into(findings: list[Finding], marker: Secret, table: Cluster) -> None:
    node = next(iter(table.nodes))
    found = {(finding.place, finding.file) for finding in findings if finding.secret == str(marker)}
    places = {place for place, _ in found}
    assert places >= {"job cache of the master", "recording", "journal", f"readable by others on {node}"}
    recorded = {file.partition(":")[0] for place, file in found if place == "recording"}
    assert recorded == {"events", "processes"}
    marked = {file for place, file in found if place == f"readable by others on {node}"}
    assert len(marked) == len(MARKER_FILES), marked


def test_no_secret_is_where_it_does_not_belong(findings: list[Finding], marker: Secret) -> None:
    leaks = [str(finding) for finding in findings if finding.secret != str(marker)]
    assert not leaks, "\n".join(leaks)
