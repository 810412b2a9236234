"""A chart is packed as a release: Chart.yaml first, its dependencies inside, the version that was asked for."""

import tarfile
from pathlib import Path

import pytest

from lab.artefacts import charts
from lab.artefacts.errors import ArtefactError


def write_chart(directory: Path, text: str) -> Path:
    """Write a chart with one template and the files that a release leaves out."""
    (directory / "templates").mkdir(parents=True)
    (directory / "Chart.yaml").write_text(text)
    (directory / "templates" / "a.yaml").write_text("kind: List\n")
    (directory / "README.md.gotmpl").write_text("source of the README")
    (directory / ".helmignore").write_text("*.gotmpl\n")
    return directory


def names(archive: Path) -> list[str]:
    """Return the members of an archive."""
    with tarfile.open(archive) as file:
        return file.getnames()


def test_release_layout(tmp_path: Path) -> None:
    chart = write_chart(
        tmp_path / "chart", "name: metallb\nversion: 0.15.3\ndependencies: [{name: crds}, {name: frr-k8s}]\n"
    )
    write_chart(chart / "charts" / "crds", "name: crds\nversion: 0.15.3\n")
    frr = write_chart(tmp_path / "frr", "name: frr-k8s\nversion: 0.0.21\n")

    charts.pack(chart, "metallb", "0.15.3", {"frr-k8s": frr}, tmp_path / "out.tgz")

    assert names(tmp_path / "out.tgz") == [
        "metallb/Chart.yaml",
        "metallb/charts/crds/Chart.yaml",
        "metallb/charts/crds/templates/a.yaml",
        "metallb/charts/frr-k8s/Chart.yaml",
        "metallb/charts/frr-k8s/templates/a.yaml",
        "metallb/templates/a.yaml",
    ]


def test_another_version_is_refused(tmp_path: Path) -> None:
    chart = write_chart(tmp_path / "chart", "name: cilium\nversion: 1.20.0\n")

    with pytest.raises(ArtefactError, match=r"states version 1\.20\.0, pillar/versions\.sls wants 1\.20\.1 for cilium"):
        charts.pack(chart, "cilium", "1.20.1", {}, tmp_path / "out.tgz")


def test_a_dependency_that_is_nowhere_is_named(tmp_path: Path) -> None:
    chart = write_chart(tmp_path / "chart", "name: metallb\nversion: 1.0.0\ndependencies: [{name: frr-k8s}]\n")

    with pytest.raises(ArtefactError, match=r"depends on frr-k8s, which its sources do not carry"):
        charts.pack(chart, "metallb", "1.0.0", {}, tmp_path / "out.tgz")
    assert not (tmp_path / "out.tgz").exists()
