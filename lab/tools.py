"""The commands of the lab's user: wrappers that enter the lab's network, and the tools that come from its mirror."""

import os
import shlex
import shutil
import sys
import tarfile
from pathlib import Path

from lab import installation
from lab.errors import LabError
from lab.network import inside
from lab.paths import Paths
from lab.shell import run
from saltern.model import Cluster

SALT_COMMANDS = ("salt", "salt-run", "salt-cloud", "salt-key")
MACHINE_COMMANDS = ("curl", "ssh")
# Artefact of the definition -> the command in it, and its member when it is an archive.
MIRRORED_TOOLS = {
    "kubectl": ("kubectl", None),
    "helm": ("helm", "linux-{arch}/helm"),
    "etcdctl": ("etcdctl", "etcd-v{version}-linux-{arch}/etcdctl"),
}


def kubeconfig(paths: Paths) -> Path:
    """Where the user's kubeconfig is, once the cluster is up."""
    return paths.state / "kubeconfig"


def ensure_ssh_key(paths: Paths) -> str:
    """Make the key pair that lets the lab's user into the nodes, unless it is there.

    Returns:
        The public key.
    """
    key = paths.lab / "ssh/id_ed25519"
    if not key.exists():
        key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "saltern-lab", "-f", key])
    return key.with_suffix(".pub").read_text().strip()


def environment(paths: Paths) -> dict[str, str]:
    """Variables of a shell that works against the lab (PATH is to be put in front of the shell's own)."""
    return {
        "PATH": str(paths.bin),
        "SALT_CONFIG_DIR": str(paths.salt / "etc"),
        "KUBECONFIG": str(kubeconfig(paths)),
        "SALTERN_STATE": str(paths.state),
        "SALTERN_CACHE": str(paths.cache),
    }


def shell_lines(paths: Paths) -> str:
    """The same as lines for `eval`; evaluating them again changes nothing."""
    variables = environment(paths)
    own_bin = variables.pop("PATH")
    quoted = shlex.quote(own_bin)
    # First of all, not only somewhere: a program of the Python environment before it would miss the lab's network.
    lines = [f'case "$PATH:" in {quoted}:*) ;; *) export PATH={quoted}:"$PATH" ;; esac']
    lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return "\n".join(lines)


def install(paths: Paths, cluster: Cluster, arch: str) -> list[str]:
    """Write the wrappers, after fetching the tools out of the mirror.

    Args:
        paths: roots of the lab.
        cluster: the definition, which names the artefacts.
        arch: the machine's architecture, `amd64`.

    Returns:
        The commands that are there now.
    """
    paths.bin.mkdir(parents=True, exist_ok=True)
    for name in SALT_COMMANDS:
        _wrap(paths, name, [str(Path(sys.executable).with_name(name))])
    for name in MACHINE_COMMANDS:
        program = _machines_own(paths, name)
        if program:
            _wrap(paths, name, [program, *_options(paths, name)])
    for artefact, (name, member) in MIRRORED_TOOLS.items():
        if artefact in cluster.versions.artefacts and artefact not in cluster.artefacts.disabled:
            _wrap(paths, name, [str(_tool(paths, cluster, artefact, member, arch))])
    return sorted(path.name for path in paths.bin.iterdir())


def _tool(paths: Paths, cluster: Cluster, artefact: str, member: str | None, arch: str) -> Path:
    """A tool as an executable file of the lab's, taken from the mirror."""
    pin = cluster.versions.artefacts[artefact]
    source = paths.mirror / pin.upstream_url(arch).partition("://")[2]
    target = paths.lab / "tools" / f"{artefact}-{pin.version}"
    if not source.exists():
        raise LabError(f"{source} is missing: the mirror lacks {artefact} {pin.version}. Type `make build`")
    if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    _replace(
        target,
        source.read_bytes() if member is None else _member(source, member.format(version=pin.version, arch=arch)),
    )
    return target


def _member(source: Path, name: str) -> bytes:
    """Content of one file of an archive."""
    with tarfile.open(source) as archive:
        content = archive.extractfile(name)
        if content is None:
            raise LabError(f"{source}: {name} is not a file. Remove the archive and type `make build`")
        return content.read()


def _replace(path: Path, content: bytes) -> None:
    """Write a program in one step: whoever runs the old one goes on with it."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.chmod(0o755)
    partial.rename(path)


def _machines_own(paths: Paths, name: str) -> str | None:
    """The machine's own program; in a shell of the lab PATH begins with the wrappers, and one must not wrap itself."""
    others = [part for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(part) != paths.bin]
    return shutil.which(name, path=os.pathsep.join(others))


def _options(paths: Paths, name: str) -> list[str]:
    """What ssh needs to know: the lab's key, and host keys that are made anew with each machine."""
    if name != "ssh":
        return []
    folder = paths.lab / "ssh"
    return ["-i", f"{folder}/id_ed25519", "-o", f"UserKnownHostsFile={folder}/known_hosts",
            "-o", "StrictHostKeyChecking=accept-new"]  # fmt: skip


def _wrap(paths: Paths, name: str, argv: list[str]) -> None:
    """A command that runs in the lab's network, with the checkout where Python finds it."""
    exports = {**installation.environment(paths), "SALT_CONFIG_DIR": str(paths.salt / "etc")}
    lines = ["#!/bin/sh", f"# {name} in the network of the lab; written by `make up`."]
    lines += [f"export {key}={shlex.quote(value)}" for key, value in exports.items()]
    lines += [f'export KUBECONFIG="${{KUBECONFIG:-{kubeconfig(paths)}}}"']
    lines += [f'exec {shlex.join(inside(argv))} "$@"']
    _replace(paths.bin / name, ("\n".join(lines) + "\n").encode())
