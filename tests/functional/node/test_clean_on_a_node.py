"""A worker's rooms on a booted node: applied over what was there before, undone, applied again.

The artefacts are small files of the test's, fetched from a server on the node itself; CRI-O is a program that says that
it is ready. All else is real: the rooms' SLS, Salt's compiler, systemd.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.nodes.scratch import ScratchNode, scratch_node
from saltern import definition, node_pillar
from tests.functional.node.test_crio_state import BUNDLE
from tests.functional.node.test_on_a_node import CHECKOUT, apply, changed, failed

WORKER = "saw-k8s-w-01"
ROOMS = ("os", "binaries", "crio", "kubelet")
SITE = "/srv/site"
WORK = "/tmp/provisioner"  # noqa: S108 - of the node
URL = "http://127.0.0.1:8000"
PROGRAM = b"#!/bin/sh\nexit 0\n"
# Stands for CRI-O: a service that says that it is ready. No script: its process would be another program, the shell.
READY = r"""
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path, getenv("NOTIFY_SOCKET"), sizeof(to.sun_path) - 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&to, sizeof(to));
    for (;;)
        pause();
}
"""
# What stays: the copies of the first fstab (document 0 keeps its own), and the operator's account.
# A salt-call without a master leaves the ID that it was given.
KEPT = (
    "/etc/salt/minion_id",
    WORK,
    "/var/backups/saltern",
    "/etc/passwd",
    "/etc/group",
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/sub",
)
# What an operator's node may hold in the places of ours.
BEFORE = {
    "/etc/systemd/system/crio.service": "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=rescue.target\n",
    "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf": "# the distribution's\n[Service]\n",
    "/etc/crictl.yaml": "runtime-endpoint: unix:///run/other.sock\n",
    "/etc/sysctl.d/75-inotify.conf": "fs.inotify.max_user_instances = 128\n",
    "/usr/bin/kubelet": "#!/bin/sh\necho the package's\n",
    "/usr/local/bin/kubectl": "#!/bin/sh\necho his own\n",
}


@pytest.fixture(scope="module")
def node() -> Iterator[ScratchNode]:
    with scratch_node(WORKER) as booted:
        yield booted


@pytest.fixture(scope="module")
def crio(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The program that stands for CRI-O."""
    path = tmp_path_factory.mktemp("crio") / "crio"
    subprocess.run(["cc", "-static", "-o", path, "-x", "c", "-"], input=READY.encode(), check=True)
    return path.read_bytes()


def archive(members: list[str], crio: bytes) -> bytes:
    """A bundle with these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member in members:
            content = BUNDLE.encode() if member.endswith("10-crio.conf") else PROGRAM
            content = crio if member.endswith("/bin/crio") else content
            info = tarfile.TarInfo(member)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def serve(node: ScratchNode, artefacts: list[dict[str, Any]], crio: bytes) -> None:
    """Put small artefacts on a server of the node, and let the pillar point there with their sums."""
    for item in artefacts:
        members = [file["member"] for file in item["files"]]
        content = PROGRAM if item["format"] == "binary" else archive(members, crio)
        path = f"{SITE}/{item['name']}"
        node.run(["mkdir", "-p", SITE])
        assert node.exec(["tee", path], content)[0] == 0
        item |= {"url": f"{URL}/{item['name']}", "sha256": hashlib.sha256(content).hexdigest()}
    server = ["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1", "--directory", SITE]
    node.run(["systemd-run", "--unit=site", *server])


@pytest.fixture(scope="module")
def pillar(node: ScratchNode, crio: bytes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A worker's pillar; packages and their services, which come from the lab's running mirror, are left out."""
    overlay = tmp_path_factory.mktemp("overlay")
    rows = "".join(f'  {chart}: {{sha256: {{any: "{"0" * 64}"}}}}\n' for chart in ("cilium-chart", "metallb-chart"))
    (overlay / "versions.sls").write_text(f"artefacts:\n{rows}")
    pillar = node_pillar.build(definition.load([CHECKOUT / "pillar", overlay]), WORKER)
    pillar["saltern"]["os"] |= {"packages": [], "services": [], "refresh": False}
    serve(node, pillar["saltern"]["artefacts"], crio)
    return pillar


def written(node: ScratchNode, files: dict[str, str]) -> None:
    for path, text in files.items():
        node.run(["mkdir", "-p", str(Path(path).parent)])
        node.run(["tee", path], text)


def contents(node: ScratchNode) -> dict[str, str]:
    """What is in those files now; of a missing one the empty text."""
    return {path: node.exec(["cat", path])[1].decode() for path in BEFORE}


def files_of(node: ScratchNode) -> set[str]:
    """Every file, link and directory in the places that our states touch."""
    roots = ["/etc", "/opt", "/usr/bin", "/usr/local", "/var/lib", "/var/backups", WORK]
    _, output, _ = node.exec(["find", *roots, "-xdev", "-not", "-path", "/var/lib/systemd/*"])
    return set(output.decode().splitlines())


def undo(node: ScratchNode, pillar: dict[str, Any]) -> dict[str, Any]:
    """Every room's clean, in the reverse order."""
    return {sid: row for room in reversed(ROOMS) for sid, row in apply(node, f"{room}.clean", pillar).items()}


def settled(node: ScratchNode, pillar: dict[str, Any]) -> None:
    done = apply(node, ",".join(ROOMS), pillar)
    assert failed(done) == {}
    again = apply(node, ",".join(ROOMS), pillar)
    assert (failed(again), changed(again)) == ({}, set())


def unit(node: ScratchNode, name: str) -> str:
    return node.run(["systemctl", "show", "--value", "--property=LoadState,ActiveState,UnitFileState", name])


def test_what_was_there_before_comes_back_and_a_further_apply_brings_ours_back(
    node: ScratchNode, pillar: dict[str, Any]
) -> None:
    written(node, BEFORE)
    node.run(["systemctl", "daemon-reload"])
    before, units = files_of(node), {name: unit(node, name) for name in ("crio.service", "kubelet.service")}

    settled(node, pillar)
    assert unit(node, "crio.service").split() == ["loaded", "active", "enabled"]
    assert node.exec(["/usr/bin/kubelet"])[0] != 0
    assert "MAINPID" in node.run(["systemctl", "cat", "crio.service"])

    ours = contents(node)
    assert all(ours[path] != text for path, text in BEFORE.items())

    preview = {sid: row for room in ROOMS for sid, row in apply(node, f"{room}.clean", pillar, test=True).items()}
    assert failed(preview) == {}
    assert contents(node) == ours

    undone = undo(node, pillar)
    assert failed(undone) == {}
    assert changed(undone) <= {sid for sid, row in preview.items() if row["result"] is None}
    assert contents(node) == BEFORE
    assert {name: unit(node, name) for name in units} == units
    after = files_of(node)
    assert before - after == set()
    assert {path for path in after - before if not path.startswith(KEPT)} == set()

    again = undo(node, pillar)
    assert (failed(again), changed(again)) == ({}, set())
    preview = apply(node, "os.clean", pillar, test=True)
    assert [sid for sid, row in preview.items() if row["result"] is not True] == []
    settled(node, pillar)
    assert unit(node, "crio.service").split() == ["loaded", "active", "enabled"]
    assert contents(node) == ours
    assert failed(undo(node, pillar)) == {}
