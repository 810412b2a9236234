"""The files of the definition: plain YAML with the line of every key, merged directory over directory.

YAML's usual reader keeps the last of two equal keys and forgets line numbers; both matter here, so the document is
walked node by node.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from saltern.findings import Finding, shown
from saltern.rows import RowError, Rows

CLUSTER_FILE = "cluster.sls"
VERSIONS_FILE = "versions.sls"
NODES = ("nodes",)
VERSIONS = "versions"  # the contents of versions.sls hang below this key of the merged data

Key = tuple[str, ...]
# Mappings whose entries an overlay takes away by writing null.
REMOVABLE: tuple[Key, ...] = (("nodes",), ("metallb", "pools"), (VERSIONS, "artefacts"))
LIBYAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
JINJA = re.compile(r"{{|{%")


@dataclass(frozen=True)
class Place:
    """Where a key is written: file and line (1-based)."""

    file: Path
    line: int


@dataclass
class Document:
    """The merged data of all files, the place of each key, and what is wrong with the files themselves."""

    data: dict[str, Any] = field(default_factory=dict)
    places: dict[Key, Place] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)  # names of files that no directory has, or that cannot be read
    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    def place(self, key: Key) -> Place | None:
        """Where a key is written, or the nearest key above it that is."""
        while key and key not in self.places:
            key = key[:-1]
        return self.places.get(key)


def files(directories: Sequence[Path]) -> list[tuple[Path, Key]]:
    """The files that the definition consists of, in merge order, each with the key that its contents hang below."""
    kinds: tuple[tuple[str, Key], ...] = ((CLUSTER_FILE, ()), (VERSIONS_FILE, (VERSIONS,)))
    return [(directory / name, below) for directory in directories for name, below in kinds]


def row_files(state_dir: str | Path | None, cluster: object) -> list[Path]:
    """The files of the rows that the product wrote for a cluster; none without a state directory."""
    try:
        return Rows(state_dir, str(cluster)).files() if state_dir else []
    except RowError:  # the cluster's name is none: that is a finding of its own
        return []


def read(directories: Sequence[Path], state_dir: str | Path | None = None) -> Document:
    """Read and merge all files of the directories, later over earlier, then add the rows that the product wrote."""
    document = _read_directories(directories)
    settings = document.data.get("cluster")
    cluster = settings.get("name") if isinstance(settings, dict) else None
    for path in row_files(state_dir, cluster):
        merge_row(document, path)
    return document


def merge_row(document: Document, path: Path) -> None:
    """Add a row that the product wrote, behind those of the operator; one that the operator names is the operator's."""
    key = (*NODES, path.stem)
    if key in document.places:
        document.warnings.append(row_twice(key, path, document.places[key]))
    else:
        merge_file(document, path, NODES)


def row_twice(key: Key, path: Path, own: Place) -> Finding:
    """The finding for a row that the product wrote although the operator's own files name it."""
    rule = f"salt-cloud wrote a row of this name too: yours ({own.file}:{own.line}) counts"
    return Finding(written_path(key), "", rule, f"delete the other: rm {path}", path)


def _read_directories(directories: Sequence[Path]) -> Document:
    document = Document()
    for directory in directories:
        if not directory.is_dir():
            document.warnings.append(missing_directory(directory))
    for path, below in files(directories):
        if path.is_file():
            merge_file(document, path, below)
    for name in (CLUSTER_FILE, VERSIONS_FILE):
        if not any((directory / name).is_file() for directory in directories):
            document.unknown.add(name)
            document.errors.append(missing_file(name, directories))
    return document


def missing_directory(directory: Path) -> Finding:
    """The finding for a directory of the master's configuration that is not there."""
    return Finding(
        "saltern.pillar_dirs",
        str(directory),
        "there is no such directory: it adds nothing to the definition",
        "create it, or take it out of saltern:pillar_dirs in the master's configuration",
    )


def missing_file(name: str, directories: Sequence[Path]) -> Finding:
    """The finding for a file that no directory has."""
    looked = ", ".join(str(directory) for directory in directories) or "no directory at all"
    return Finding(
        "saltern.pillar_dirs",
        "",
        f"there is no {name} (looked in: {looked})",
        f"name the directory that has {name} in saltern:pillar_dirs of the master's configuration",
    )


def merge_file(document: Document, path: Path, below: Key) -> None:
    """Read one file and merge it into the document."""
    data = _contents(document, path, below)
    if data is None:
        document.unknown.add(path.name)
        return
    fresh: dict[str, Any] = reduce(lambda inner, name: {name: inner}, reversed(below), data)
    if not below and VERSIONS in data:
        place = document.places.get((VERSIONS,), Place(path, 1))
        rule = "unknown key: versions have a file of their own"
        document.errors.append(Finding(VERSIONS, "", rule, f"move its contents to {VERSIONS_FILE}", path, place.line))
        del data[VERSIONS]
    document.data = merged(document.data, fresh)


def _contents(document: Document, path: Path, below: Key) -> dict[str, Any] | None:
    """The plain data of one file; None when it cannot be read, which the document's errors then tell."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        document.errors.append(unreadable(path, str(err)))
        return None
    jinja = list(jinja_findings(text, path))
    document.errors.extend(jinja)
    if jinja:  # what a template would have put there is unknown: YAML's own message would mislead
        return None
    try:
        root = composed(text)
    except yaml.YAMLError as err:
        document.errors.append(not_yaml(path, err))
        return None
    data = Walk(path, document).value(root, below) if root else {}
    if not isinstance(data, dict):
        document.errors.append(
            Finding("", shown(data), "the file is not a mapping", "write KEY: VALUE lines", path, 1),
        )
        return None
    return data


def composed(text: str) -> yaml.Node | None:
    """The tree of a YAML text, by libyaml where PyYAML has it: ten times as fast. Raises yaml.YAMLError."""
    try:
        return yaml.compose(text, Loader=LIBYAML)
    except yaml.YAMLError:  # PyYAML's own reader says better what is wrong
        return yaml.compose(text, Loader=yaml.SafeLoader)


def merged(base: dict[str, Any], over: dict[str, Any], key: Key = ()) -> dict[str, Any]:
    """Mappings merge, all else replaces; null takes an entry of a removable mapping away."""
    result = dict(base)
    for name, value in over.items():
        if value is None and key in REMOVABLE:
            result.pop(name, None)
        elif isinstance(value, dict) and isinstance(base.get(name), dict):
            result[name] = merged(base[name], value, (*key, name))
        elif isinstance(value, dict):
            result[name] = merged({}, value, (*key, name))
        else:
            result[name] = value
    return result


def unreadable(path: Path, cause: str) -> Finding:
    """The finding for a file that cannot be read."""
    return Finding("", "", f"cannot be read: {cause}", "check its owner, mode and encoding (UTF-8)", path)


def not_yaml(path: Path, err: yaml.YAMLError) -> Finding:
    """The finding for a file that is not YAML, with the line that YAML's reader stumbled over."""
    mark = getattr(err, "problem_mark", None)
    cause = getattr(err, "problem", None) or str(err)
    remedy = "check indentation, quotes and brackets on this line and the one before it"
    return Finding("", "", f"not YAML: {cause}", remedy, path, mark.line + 1 if mark else None)


def jinja_findings(text: str, path: Path) -> Iterator[Finding]:
    """One finding for each line with Jinja on it; comments may show some."""
    for number, line in enumerate(text.splitlines(), start=1):
        if JINJA.search(line) and not line.lstrip().startswith("#"):
            yield Finding(
                "",
                shown(line.strip()),
                "Jinja is not rendered here: the definition is plain YAML that every reader understands alike",
                "write the value itself; what differs between installations goes into an overlay directory",
                path,
                number,
            )


class Walk:
    """Turns one file's YAML nodes into data, noting each key's line and each key that occurs twice."""

    def __init__(self, path: Path, document: Document) -> None:
        self.path = path
        self.document = document
        self.scalars = yaml.SafeLoader("")

    def value(self, node: yaml.Node, key: Key) -> Any:
        """The plain data below a node whose key is known."""
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, key)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*key, str(number))) for number, child in enumerate(node.value)]
        return self.scalars.construct_object(node)

    def mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        """A mapping's data; its keys are text."""
        result: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for name_node, value_node in node.value:
            name, line = str(name_node.value), name_node.start_mark.line + 1
            if name in result:
                self.document.errors.append(self.duplicate((*key, name), lines[name], line))
            lines[name] = line
            self.document.places[(*key, name)] = Place(self.path, line)
            result[name] = self.value(value_node, (*key, name))
        return result

    def duplicate(self, key: Key, first_line: int, line: int) -> Finding:
        """The finding for a key that a mapping has twice."""
        return Finding(
            written_path(key),
            "",
            f"the name is there twice, first on line {first_line}: only one of the two would count",
            "give one of them another name, or delete it",
            self.path,
            line,
        )


def written_path(key: Key) -> str:
    """A key as it is written in its own file, e.g. "nodes.saw-k8s-w-01.address"."""
    return ".".join(key[1:] if key[:1] == (VERSIONS,) else key)
