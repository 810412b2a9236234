"""Container images as OCI layouts (https://github.com/opencontainers/image-spec), and as a registry's storage.

The registry's storage is written directly, as Docker's distribution keeps it on a file system (its registry/storage
paths.go): nothing has to run, and blobs are hard links to the layout's.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.artefacts import command
from lab.artefacts.store import link, sha256_of
from lab.artefacts.tarballs import Entry, write_tar

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+zstd"
# Unpacking on seven nodes is the largest work of a bring-up on two cores. Cilium's image (583 MB unpacked) into an
# overlay store costs 9 s of processor time with zstd, 14 s with gzip -1, 9.5 s uncompressed (and thrice the reads).
ZSTD = ("zstd", "--quiet", "-3", "-T2", "--rm")


@dataclass(frozen=True)
class ImageConfig:
    """What an image runs by default.

    Args:
        entrypoint: program and arguments.
        user: numeric user and group; empty for root.
        env: {name: value}, added to PATH.
    """

    entrypoint: Sequence[str] = ()
    user: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def write_layout(directory: Path, layers: Sequence[Sequence[Entry]], config: ImageConfig, arch: str) -> None:
    """Write an image as an OCI layout.

    Args:
        directory: existing, empty.
        layers: the members of each layer, lowest first.
        config: what runs by default.
        arch: Go's and the image format's name of the architecture.
    """
    (directory / "blobs" / "sha256").mkdir(parents=True)
    written = [_write_layer(directory, layer) for layer in layers]
    description = {
        "architecture": arch,
        "os": "linux",
        "config": _runtime_config(config),
        "rootfs": {"type": "layers", "diff_ids": [diff_id for diff_id, _ in written]},
        "history": [{"created_by": "saltern lab"} for _ in written],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _write_json(directory, CONFIG_TYPE, description),
        "layers": [descriptor for _, descriptor in written],
    }
    index = {"schemaVersion": 2, "manifests": [_write_json(directory, MANIFEST_TYPE, manifest)]}
    (directory / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}\n')


def _runtime_config(config: ImageConfig) -> dict[str, Any]:
    env = {"PATH": PATH, **config.env}
    runtime: dict[str, Any] = {"Env": [f"{name}={value}" for name, value in env.items()], "WorkingDir": "/"}
    if config.entrypoint:
        runtime["Entrypoint"] = list(config.entrypoint)
    if config.user:
        runtime["User"] = config.user
    return runtime


def _write_layer(directory: Path, entries: Sequence[Entry]) -> tuple[str, dict[str, Any]]:
    """Write one layer; return its digest before compression (diff ID) and its descriptor."""
    raw, packed = directory / "layer.tar", directory / "layer.tar.zst"
    with raw.open("wb") as file:
        write_tar(file, entries)
    diff_id = f"sha256:{sha256_of(raw)}"
    command.run([*ZSTD, raw, "-o", packed], hint="install zstd: apt-get install zstd")
    digest = sha256_of(packed)
    size = packed.stat().st_size
    packed.rename(directory / "blobs" / "sha256" / digest)
    return diff_id, {"mediaType": LAYER_TYPE, "digest": f"sha256:{digest}", "size": size}


def _write_json(directory: Path, media_type: str, document: Mapping[str, Any]) -> dict[str, Any]:
    content = json.dumps(document, sort_keys=True).encode()
    digest = hashlib.sha256(content).hexdigest()
    (directory / "blobs" / "sha256" / digest).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def manifest_digest(layout: Path) -> str:
    """Return the digest of the image in a layout, as "sha256:HEX"."""
    index = json.loads((layout / "index.json").read_text())
    return str(index["manifests"][0]["digest"])


def size_bytes(layout: Path) -> int:
    """Return what a node transfers for the image: the sum of its blobs."""
    return sum(blob.stat().st_size for blob in (layout / "blobs" / "sha256").iterdir())


def published_digest(registry: Path, repository: str, tag: str) -> str | None:
    """Return the digest that a tag has in a registry's storage, None when it is not there."""
    current = _repository(registry, repository) / "_manifests" / "tags" / tag / "current" / "link"
    return current.read_text() if current.is_file() else None


def publish(layout: Path, registry: Path, repository: str, tag: str) -> None:
    """Make a registry's storage serve the image of a layout as `repository:tag`; the tag's link is written last.

    What is there already is left as it is, but for blobs that are links to another layout with the same contents: that
    one may be pruned.

    Args:
        layout: an OCI layout with one image, on the file system of `registry`.
        registry: the storage's root directory (`storage.filesystem.rootdirectory` of docker-registry).
        repository: e.g. "coredns/coredns".
        tag: e.g. "v1.14.2".
    """
    digest = manifest_digest(layout)
    manifest = json.loads((layout / "blobs" / "sha256" / _hex(digest)).read_text())
    blobs = [manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]
    home = _repository(registry, repository)
    for blob in [*blobs, digest]:
        value = _hex(blob)
        data = registry / "docker" / "registry" / "v2" / "blobs" / "sha256" / value[:2] / value / "data"
        link(layout / "blobs" / "sha256" / value, data)
    for blob in blobs:
        _write_link(home / "_layers" / "sha256" / _hex(blob), blob)
    _write_link(home / "_manifests" / "revisions" / "sha256" / _hex(digest), digest)
    _write_link(home / "_manifests" / "tags" / tag / "index" / "sha256" / _hex(digest), digest)
    _write_link(home / "_manifests" / "tags" / tag / "current", digest)


def prune(registry: Path) -> int:
    """Remove the blobs of a registry's storage whose layout is gone (no other link is left); return how many."""
    blobs = [data for data in registry.glob("docker/registry/v2/blobs/sha256/*/*/data") if data.stat().st_nlink == 1]
    for data in blobs:
        shutil.rmtree(data.parent)
    return len(blobs)


def _repository(registry: Path, repository: str) -> Path:
    return registry / "docker" / "registry" / "v2" / "repositories" / repository


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _write_link(directory: Path, digest: str) -> None:
    file = directory / "link"
    if file.is_file() and file.read_text() == digest:
        return
    directory.mkdir(parents=True, exist_ok=True)
    unfinished = directory / ".link"  # a registry may be reading
    unfinished.write_text(digest)
    unfinished.replace(file)
