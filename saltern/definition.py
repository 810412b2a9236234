"""The one door to a cluster: read the definition, check it as a whole, hand out the model.

>>> cluster = load(["/srv/saltern/pillar", "/etc/saltern/pillar"])
>>> str(cluster.endpoint)
'192.168.100.150:6443'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saltern import rows, schema, source
from saltern.findings import DefinitionError, Finding, shown
from saltern.model import Cluster
from saltern.problems import Draft, Problem
from saltern.rules import problems

__all__ = ["DefinitionError", "Finding", "Report", "check", "load", "load_cached", "places"]

STATE_DIR = "/var/lib/saltern"  # where an installation keeps records, locks and rows unless it says otherwise

# What stat says about each file: when this is unchanged, so is the definition.
Stamp = tuple[tuple[str, int, int, int], ...]
_cache: dict[tuple[str | None, ...], tuple[Stamp, Cluster]] = {}


@dataclass(frozen=True)
class Report:
    """The outcome of a check.

    Attributes:
        cluster: the cluster, or None when there are errors.
        errors: all that has to be corrected.
        warnings: what is doubtful and stops nothing.
    """

    cluster: Cluster | None
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]


def places(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Where a master's definition is, as arguments of :func:`load`, :func:`load_cached` and :func:`check`.

    Args:
        settings: ``saltern`` of the master's configuration: {pillar_dirs, state_dir}.
    """
    return {"pillar_dirs": settings.get("pillar_dirs", []), "state_dir": settings.get("state_dir", STATE_DIR)}


def load(pillar_dirs: Iterable[str | Path], state_dir: str | Path | None = None) -> Cluster:
    """Read and check the definition.

    Args:
        pillar_dirs: directories with cluster.sls and versions.sls; a later one is merged over an earlier one.
        state_dir: the installation's state directory, with the rows that the product wrote (:mod:`saltern.rows`);
            without it the table is what the operator wrote, and no more.

    Raises:
        DefinitionError: with everything that is wrong.
    """
    report = check(pillar_dirs, state_dir)
    if report.cluster is None:
        raise DefinitionError(report.errors)
    return report.cluster


def load_cached(pillar_dirs: Iterable[str | Path], state_dir: str | Path | None = None) -> Cluster:
    """As :func:`load`, but parse again only when a file changed: a master compiles one pillar for each minion.

    Raises:
        DefinitionError: with everything that is wrong.
    """
    directories = tuple(str(directory) for directory in pillar_dirs)
    key = (*directories, str(state_dir) if state_dir else None)
    stamp = stamp_of([Path(directory) for directory in directories], state_dir)
    known = _cache.get(key)
    if known and known[0] == stamp:
        return known[1]
    cluster = load(directories, state_dir)
    _cache[key] = (stamp, cluster)
    return cluster


def stamp_of(directories: Sequence[Path], state_dir: str | Path | None = None) -> Stamp:
    """Path, inode, size and mtime (ns) of each file that is there: an editor's atomic replace shows in the inode."""
    files = [path for path, _ in source.files(directories)] + (rows.all_files(state_dir) if state_dir else [])
    return tuple(fact for path in files for fact in _fact(path))


def _fact(path: Path) -> Stamp:
    """What stat says, as a stamp of one file; empty for a file that is not there (any more)."""
    try:
        fact = path.stat()
    except FileNotFoundError:
        return ()
    return ((str(path), fact.st_ino, fact.st_size, fact.st_mtime_ns),)


def check(pillar_dirs: Iterable[str | Path], state_dir: str | Path | None = None) -> Report:
    """Read the definition and report everything that is wrong or doubtful, without raising.

    What a file that cannot be read may have said is not guessed at: it is the one finding about its contents.
    """
    document = source.read([Path(directory) for directory in pillar_dirs], state_dir)
    cluster, found = (None, []) if source.CLUSTER_FILE in document.unknown else validate(document.data)
    if source.VERSIONS_FILE in document.unknown:
        found = [problem for problem in found if problem.key[0] != source.VERSIONS]
    errors = [*document.errors, *(located(problem, document) for problem in found if not problem.warning)]
    warnings = [*document.warnings, *(located(problem, document) for problem in found if problem.warning)]
    return Report(None if errors else cluster, in_file_order(errors), in_file_order(warnings))


def in_file_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings as someone meets them who reads the files from top to bottom; those of no file come first."""
    return tuple(sorted(findings, key=lambda finding: (str(finding.file or ""), finding.line or 0)))


def validate(data: dict[str, Any]) -> tuple[Cluster | None, list[Problem]]:
    """The cluster that merged data describes, and every problem of single fields and between fields."""
    cluster, found = schema.parse(data)
    if cluster is None:
        return None, found
    draft = Draft(cluster, data, tuple(problem.key for problem in found))
    return cluster, [*found, *problems(draft)]


def located(problem: Problem, document: source.Document) -> Finding:
    """A problem as a finding with file and line."""
    place = document.place(problem.key)
    return Finding(
        source.written_path(problem.key),
        shown(problem.value),
        problem.rule,
        problem.remedy,
        place.file if place else None,
        place.line if place else None,
        problem.code,
    )
