"""Image layouts hold together, and Debian's registry serves what `publish` wrote."""

import hashlib
import json
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.artefacts import oci
from lab.artefacts.tarballs import Entry

START_DEADLINE_S = 20.0


def write_sample(directory: Path, text: bytes = b"#!/bin/sh\n") -> Path:
    """Write an image of two layers; return its layout."""
    directory.mkdir(parents=True)
    layers = [
        [Entry("usr"), Entry("usr/tool", source=None, content=text)],
        [Entry("etc/passwd", 0o644, content=b"root")],
    ]
    oci.write_layout(directory, layers, oci.ImageConfig(("/usr/tool",), "65535:65535", {"HOME": "/x"}), "amd64")
    return directory


def blob(layout: Path, digest: str) -> Path:
    """Return the file of a blob."""
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")


def manifest(layout: Path) -> dict[str, Any]:
    """Return the image's manifest as parsed."""
    document: dict[str, Any] = json.loads(blob(layout, oci.manifest_digest(layout)).read_text())
    return document


def test_every_blob_has_the_name_and_size_that_is_claimed(tmp_path: Path) -> None:
    layout = write_sample(tmp_path / "image")
    index = json.loads((layout / "index.json").read_text())
    parts = [index["manifests"][0], manifest(layout)["config"], *manifest(layout)["layers"]]

    for part in parts:
        content = blob(layout, part["digest"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == part["digest"].removeprefix("sha256:")
        assert len(content) == part["size"]
    assert len(list((layout / "blobs" / "sha256").iterdir())) == len(parts)
    assert oci.size_bytes(layout) == sum(part["size"] for part in parts)
    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}


def test_config_names_the_unpacked_layers_in_order(tmp_path: Path) -> None:
    layout = write_sample(tmp_path / "image")
    config = json.loads(blob(layout, manifest(layout)["config"]["digest"]).read_text())

    assert config["architecture"] == "amd64"
    assert config["config"]["Entrypoint"] == ["/usr/tool"]
    assert config["config"]["User"] == "65535:65535"
    assert config["config"]["Env"] == [f"PATH={oci.PATH}", "HOME=/x"]
    names = []
    for layer, diff_id in zip(manifest(layout)["layers"], config["rootfs"]["diff_ids"], strict=True):
        raw = subprocess.run(["zstd", "-dqc", blob(layout, layer["digest"])], check=True, capture_output=True).stdout
        assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == diff_id
        (tmp_path / "raw.tar").write_bytes(raw)
        with tarfile.open(tmp_path / "raw.tar") as archive:
            names.append(archive.getnames())
    assert names == [["usr", "usr/tool"], ["etc/passwd"]]


def test_the_same_contents_give_the_same_image(tmp_path: Path) -> None:
    first, second = write_sample(tmp_path / "one"), write_sample(tmp_path / "two")
    other = write_sample(tmp_path / "three", b"#!/bin/bash\n")

    assert oci.manifest_digest(first) == oci.manifest_digest(second) != oci.manifest_digest(other)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Debian's docker-registry, read-only, over a storage that tests write into: (its root, its URL)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = tmp_path / "registry"
    root.mkdir()
    configuration = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(root)}, "maintenance": {"readonly": {"enabled": True}}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (tmp_path / "registry.yml").write_text(json.dumps(configuration))
    with (
        (tmp_path / "registry.log").open("wb") as log,
        subprocess.Popen(["docker-registry", "serve", tmp_path / "registry.yml"], stdout=log, stderr=log) as process,
    ):
        _wait_for(f"http://127.0.0.1:{port}/v2/")
        yield root, f"127.0.0.1:{port}"
        process.terminate()


def _wait_for(url: str) -> None:
    """Wait until the registry listens: it says so nowhere else."""
    deadline_s = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 -- loopback
        except urllib.error.URLError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)
        else:
            return


def inspect(reference: str) -> dict[str, Any]:
    """Ask skopeo what a registry has; it reads the manifest and the config as a node's CRI-O does."""
    argv = ["skopeo", "inspect", "--tls-verify=false", f"docker://{reference}"]
    document: dict[str, Any] = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    return document


def test_registry_serves_published_images(tmp_path: Path, registry: tuple[Path, str]) -> None:
    root, address = registry
    layout = write_sample(tmp_path / "image")
    oci.publish(layout, root, "coredns/coredns", "v1")

    found = inspect(f"{address}/coredns/coredns:v1")
    assert found["Digest"] == oci.manifest_digest(layout) == oci.published_digest(root, "coredns/coredns", "v1")
    assert found["RepoTags"] == ["v1"]
    copy = tmp_path / "copy"
    argv = [
        "skopeo",
        "copy",
        "--quiet",
        "--src-tls-verify=false",
        f"docker://{address}/coredns/coredns:v1",
        f"oci:{copy}",
    ]
    subprocess.run(argv, check=True, capture_output=True)
    assert {path.name for path in (copy / "blobs" / "sha256").iterdir()} == {
        path.name for path in (layout / "blobs" / "sha256").iterdir()
    }


def test_a_tag_moves_to_the_newer_image_and_shares_the_layouts_files(
    tmp_path: Path, registry: tuple[Path, str]
) -> None:
    root, address = registry
    old, new = write_sample(tmp_path / "old"), write_sample(tmp_path / "new", b"newer")
    oci.publish(old, root, "pause", "3.10.2")
    oci.publish(new, root, "pause", "3.10.2")

    assert inspect(f"{address}/pause:3.10.2")["Digest"] == oci.manifest_digest(new)
    blobs = list(root.glob("docker/registry/v2/blobs/sha256/*/*/data"))
    assert blobs
    assert all(data.stat().st_nlink > 1 for data in blobs)


def test_the_same_image_made_again_outlives_its_first_layout(tmp_path: Path) -> None:
    root = tmp_path / "registry"
    first, again = write_sample(tmp_path / "first"), write_sample(tmp_path / "again")
    oci.publish(first, root, "pause", "1")
    oci.publish(again, root, "pause", "1")
    shutil.rmtree(first)

    assert oci.prune(root) == 0
    assert len(list(root.glob("docker/registry/v2/blobs/sha256/*/*/data"))) == 4


def test_prune_removes_only_blobs_without_a_layout(tmp_path: Path) -> None:
    root = tmp_path / "registry"
    old, new = write_sample(tmp_path / "old"), write_sample(tmp_path / "new", b"newer")
    oci.publish(old, root, "pause", "1")
    oci.publish(new, root, "pause", "2")
    only_old = {path.name for path in (old / "blobs" / "sha256").iterdir()} - {
        path.name for path in (new / "blobs" / "sha256").iterdir()
    }
    for path in (old / "blobs" / "sha256").iterdir():
        path.unlink()

    assert oci.prune(root) == len(only_old) == 3  # a layer, the config and the manifest differ
    left = {data.parent.name for data in root.glob("docker/registry/v2/blobs/sha256/*/*/data")}
    assert left == {path.name for path in (new / "blobs" / "sha256").iterdir()}
