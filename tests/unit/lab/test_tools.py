"""The lab's shell: variables, wrappers, tools out of the mirror."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from lab import tools
from lab.errors import LabError
from lab.paths import CHECKOUT, Paths
from saltern import definition
from saltern.model import Cluster

KUBECTL = "dl.k8s.io/release/v{version}/bin/linux/amd64/kubectl"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(state=tmp_path / "the state", cache=tmp_path / "cache")


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """The checkout's definition, with sums for everything and without etcdctl."""
    pins = {name: {"sha256": {"amd64": "a" * 64, "any": "b" * 64}} for name in ("metallb-chart", "cilium-chart", "k9s")}
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "versions.sls").write_text(f"artefacts: {pins}\n")
    return definition.load([CHECKOUT / "pillar", overlay])


@pytest.fixture
def mirror(paths: Paths, cluster: Cluster) -> Path:
    """A mirror with a kubectl that tells how it was called, and a helm in its archive."""
    pins = cluster.versions.artefacts
    script = b'#!/bin/sh\necho "$KUBECONFIG" "$@"\n'
    kubectl = paths.mirror / pins["kubectl"].upstream_url("amd64").partition("://")[2]
    kubectl.parent.mkdir(parents=True)
    kubectl.write_bytes(script)
    helm = paths.mirror / pins["helm"].upstream_url("amd64").partition("://")[2]
    helm.parent.mkdir(parents=True)
    with tarfile.open(helm, "w:gz") as archive:
        member = tarfile.TarInfo("linux-amd64/helm")
        member.size = len(script)
        archive.addfile(member, io.BytesIO(script))
    return paths.mirror


def evaluated(paths: Paths, times: int = 1, path: str = "/usr/bin:/bin") -> dict[str, str]:
    """The environment of a shell after `eval`."""
    script = f"{tools.shell_lines(paths)}\n" * times + "env -0"
    out = subprocess.run(
        ["bash", "-ec", script], capture_output=True, text=True, check=True, env={"PATH": path}
    )
    return dict(line.split("=", 1) for line in out.stdout.split("\0") if "=" in line)


def test_the_shells_variables(paths: Paths) -> None:
    found = evaluated(paths)
    assert found["PATH"] == f"{paths.bin}:/usr/bin:/bin"
    assert found["SALT_CONFIG_DIR"] == f"{paths.salt}/etc"
    assert found["KUBECONFIG"] == f"{paths.state}/kubeconfig"
    assert found["SALTERN_STATE"] == str(paths.state)


def test_evaluating_twice_is_the_same(paths: Paths) -> None:
    assert evaluated(paths, times=2)["PATH"] == evaluated(paths)["PATH"]


def test_the_wrappers_come_before_the_python_environments_own_commands(paths: Paths) -> None:
    """`make test` typed in a shell of the lab: the environment's bare salt would not reach the lab's network."""
    path = f"/venv/bin:{paths.bin}:/usr/bin:/bin"
    assert evaluated(paths, path=path)["PATH"] == f"{paths.bin}:{path}"


def test_wrappers_for_what_there_is(paths: Paths, cluster: Cluster, mirror: Path) -> None:
    installed = tools.install(paths, cluster, "amd64")
    assert {"salt", "salt-run", "salt-cloud", "salt-key", "kubectl", "helm", "curl", "ssh"} <= set(installed)
    assert "etcdctl" not in installed  # switched off in the definition


def test_a_wrapper_enters_the_network_and_passes_every_word(
    paths: Paths, cluster: Cluster, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "inside", lambda argv: ["env", "IN_THE_LAB=1", *map(str, argv)])
    tools.install(paths, cluster, "amd64")
    for name in ("kubectl", "helm"):
        out = subprocess.run([paths.bin / name, "get", "a b", "$x"], capture_output=True, text=True, check=True)
        assert out.stdout == f"{paths.state}/kubeconfig get a b $x\n"
        assert "IN_THE_LAB=1" in (paths.bin / name).read_text()


def test_the_users_own_kubeconfig_wins(
    paths: Paths, cluster: Cluster, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "inside", lambda argv: list(map(str, argv)))
    tools.install(paths, cluster, "amd64")
    environment = {**os.environ, "KUBECONFIG": "/mine"}
    out = subprocess.run([paths.bin / "kubectl"], capture_output=True, text=True, check=True, env=environment)
    assert out.stdout == "/mine\n"


def test_a_tool_that_the_mirror_lacks_is_named(paths: Paths, cluster: Cluster) -> None:
    with pytest.raises(LabError, match=r"kubectl is missing: the mirror lacks kubectl .* Type `make build`"):
        tools.install(paths, cluster, "amd64")


def test_a_new_version_in_the_mirror_replaces_the_tool(paths: Paths, cluster: Cluster, mirror: Path) -> None:
    tools.install(paths, cluster, "amd64")
    source = mirror / cluster.versions.artefacts["kubectl"].upstream_url("amd64").partition("://")[2]
    source.write_bytes(b"#!/bin/sh\necho new\n")
    os.utime(source, ns=(2**62, 2**62))
    tools.install(paths, cluster, "amd64")
    assert any(b"echo new" in path.read_bytes() for path in (paths.lab / "tools").glob("kubectl-*"))


def test_the_ssh_key_is_made_once_and_is_private(paths: Paths) -> None:
    public = tools.ensure_ssh_key(paths)
    assert public.startswith("ssh-ed25519 ")
    assert tools.ensure_ssh_key(paths) == public
    assert (paths.lab / "ssh/id_ed25519").stat().st_mode & 0o777 == 0o600


def test_a_wrapper_never_wraps_itself(
    paths: Paths, cluster: Cluster, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools.install(paths, cluster, "amd64")
    monkeypatch.setenv("PATH", f"{paths.bin}:{os.environ['PATH']}")  # `make up` typed in a shell of the lab
    tools.install(paths, cluster, "amd64")
    for name in ("curl", "ssh"):
        assert f"{paths.bin}/{name}" not in (paths.bin / name).read_text()
