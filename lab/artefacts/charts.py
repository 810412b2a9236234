"""Helm charts packed from the sources of a module, as `helm package` would, with stable bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from lab.artefacts.errors import ArtefactError
from lab.artefacts.tarballs import Entry, tree, write_tar_gz

# What a release leaves out of the archive (.helmignore of both charts name these among others).
LEFT_OUT = (".helmignore", "README.md.gotmpl", "values.yaml.tmpl")


def pack(chart: Path, name: str, version: str, vendored: Mapping[str, Path], output: Path) -> None:
    """Pack a chart's directory into `output`.

    Args:
        chart: the directory with Chart.yaml.
        name: the chart's name, first directory in the archive.
        version: the version that Chart.yaml must state.
        vendored: {name: directory} of dependencies that a release carries under charts/.
        output: the .tgz to write.

    Raises:
        ArtefactError: the chart is of another version, or a dependency is neither in it nor in `vendored`.
    """
    metadata = yaml.safe_load((chart / "Chart.yaml").read_text())
    if metadata["version"] != version:
        raise ArtefactError(
            f"{chart}/Chart.yaml states version {metadata['version']}, pillar/versions.sls wants {version} for {name}: "
            "pin a version that the module's release carries"
        )
    _check_dependencies(chart, metadata, vendored)
    entries = tree(chart, f"{name}/")
    for dependency, directory in sorted(vendored.items()):
        entries += tree(directory, f"{name}/charts/{dependency}/")
    write_tar_gz(output, sorted(_packed(entries), key=_chart_yaml_first))


def _check_dependencies(chart: Path, metadata: dict[str, list[dict[str, str]]], vendored: Mapping[str, Path]) -> None:
    wanted = {dependency["name"] for dependency in metadata.get("dependencies", [])}
    missing = sorted(name for name in wanted - set(vendored) if not (chart / "charts" / name).is_dir())
    if missing:
        raise ArtefactError(
            f"{chart}/Chart.yaml depends on {', '.join(missing)}, which its sources do not carry: "
            "name where they are found in FILES[...].vendored (lab/artefacts/recipes.py)"
        )


def _packed(entries: list[Entry]) -> list[Entry]:
    """Keep files only: Helm makes the directories, and refuses archives with odd entries."""
    return [entry for entry in entries if entry.source and entry.source.name not in LEFT_OUT]


def _chart_yaml_first(entry: Entry) -> tuple[bool, str]:
    return (entry.path.count("/") != 1 or not entry.path.endswith("/Chart.yaml"), entry.path)
