"""The door: the shipped definition, everything at once, the cache."""

from __future__ import annotations

import os
import re
import shutil

import pytest

from saltern import definition
from saltern.findings import DefinitionError, Finding
from saltern.model import Totals
from tests.unit.saltern.definitions import SHIPPED, data, overlaid, report, shipped, write


def test_the_shipped_table_is_document_3s(tmp_path):
    cluster = shipped(tmp_path)
    rows = [(n.name, n.role, str(n.address), n.cpus, n.memory_gib, n.disk_gib) for n in cluster.nodes.values()]
    assert rows == [
        ("saw-k8s-ha-01", "load_balancer", "192.168.100.150", 2, 4, 20),
        ("saw-k8s-m-01", "control_plane", "192.168.100.151", 2, 8, 20),
        ("saw-k8s-m-02", "control_plane", "192.168.100.152", 2, 8, 20),
        ("saw-k8s-m-03", "control_plane", "192.168.100.153", 2, 8, 20),
        ("saw-k8s-w-01", "worker", "192.168.100.154", 2, 16, 20),
        ("saw-k8s-w-02", "worker", "192.168.100.155", 2, 16, 20),
        ("saw-k8s-w-03", "worker", "192.168.100.156", 2, 16, 20),
        ("saw-k8s-w-04", "worker", "192.168.100.157", 2, 16, 20),
    ]


def test_the_shipped_table_adds_up_to_16_cpus_92_gib_and_160_gib(tmp_path):
    assert shipped(tmp_path).totals == Totals(cpus=16, memory_gib=92, disk_gib=160)


def test_the_shipped_definition_lacks_at_most_the_sums_that_nobody_published():
    errors = definition.check([SHIPPED]).errors
    assert {finding.path for finding in errors} <= {"artefacts.metallb-chart.sha256"}


def test_the_guides_metallb_chart_completes_the_shipped_definition(tmp_path):
    guide = (SHIPPED.parent / "docs" / "production.md").read_text()
    (published,) = [text for text in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL) if "version: 0.15.2" in text]
    (tmp_path / "versions.sls").write_text(published)
    cluster = definition.load([SHIPPED, tmp_path])
    assert cluster.versions.artefacts["metallb-chart"].version == "0.15.2"


def test_the_completed_definition_has_neither_errors_nor_warnings(tmp_path):
    found = report(tmp_path)
    assert (found.errors, found.warnings) == ((), ())


BROKEN_OVERLAY = """\
cluster:
  nme: x
  pod_cidr: 10.0.0.0/16
nodes:
  saw-k8s-m-03: null
  saw-k8s-w-01: {address: 192.168.101.9, cpus: 0}
  saw-k8s-w-02: {address: 192.168.100.151}
metallb: {pools: {default: [192.168.100.157-192.168.100.220]}}
"""


def test_everything_wrong_is_found_at_once_with_file_and_line(tmp_path):
    directories = overlaid(tmp_path, versions={"crio": "1.35.2"})
    overlay = tmp_path / "overlay/cluster.sls"
    overlay.write_text(BROKEN_OVERLAY)
    found = definition.check(directories)
    assert found.cluster is None
    assert [(finding.path, finding.line) for finding in found.errors if finding.file == overlay] == [
        ("cluster.nme", 2),
        ("cluster.pod_cidr", 3),
        ("nodes", 4),
        ("nodes.saw-k8s-w-01.cpus", 6),
        ("nodes.saw-k8s-w-01.address", 6),
        ("nodes.saw-k8s-w-02.address", 7),
        ("metallb.pools.default", 8),  # a node's address
        ("metallb.pools.default", 8),  # the worker range
    ]
    versions = [finding.path for finding in found.errors if finding.file == tmp_path / "overlay/versions.sls"]
    assert versions == ["crio"]


def test_the_error_prints_every_finding_with_place_value_rule_and_remedy(tmp_path):
    directories = overlaid(tmp_path, cluster={"nodes": {"saw-k8s-w-02": {"address": "192.168.100.151"}}})
    with pytest.raises(DefinitionError) as raised:
        definition.load(directories)
    assert str(raised.value) == (
        "The cluster's definition has 1 error; nothing was done.\n"
        f"1. nodes.saw-k8s-w-02.address = 192.168.100.151 ({tmp_path}/overlay/cluster.sls:3)\n"
        "    is also the address of saw-k8s-m-01 (nodes.saw-k8s-m-01.address)\n"
        "    give it an address of its own"
    )


def test_several_errors_are_numbered_and_counted():
    text = str(DefinitionError([Finding("a", "1", "wrong", "mend it"), Finding("", "", "missing", "add it")]))
    assert text.splitlines()[0] == "The cluster's definition has 2 errors; nothing was done."
    assert "1. a = 1\n    wrong\n    mend it" in text
    assert "2. definition\n    missing\n    add it" in text


def test_a_missing_versions_file_is_one_finding(tmp_path):
    found = definition.check([write(tmp_path, cluster=data())])
    assert [finding.path for finding in found.errors] == ["saltern.pillar_dirs"]


def test_a_missing_cluster_file_is_one_finding(tmp_path):
    found = definition.check([write(tmp_path, versions={"kubernetes": "1.36.4"})])
    assert [(finding.path, finding.rule) for finding in found.errors] == [
        ("saltern.pillar_dirs", f"there is no cluster.sls (looked in: {tmp_path})")
    ]


@pytest.mark.parametrize("place", ["", "overlay"])
@pytest.mark.parametrize("name", ["cluster.sls", "versions.sls"])
@pytest.mark.parametrize(("line", "rule"), [("x: [", "not YAML"), ("x: {{ y }}", "Jinja")])
def test_a_file_that_cannot_be_read_is_one_finding(tmp_path, place, name, line, rule):
    directories = overlaid(tmp_path)
    if not place:
        shutil.copytree(SHIPPED, tmp_path / "base")
        directories = [tmp_path / "base", *directories[1:]]
    path = tmp_path / (place or "base") / name
    path.write_text((path.read_text() if path.exists() else "") + f"{line}\n")
    (finding,) = definition.check(directories).errors
    assert (finding.path, finding.file) == ("", path)
    assert finding.rule.startswith(rule)


def test_no_directory_at_all_is_an_error_not_a_crash():
    with pytest.raises(DefinitionError, match="no directory at all") as raised:
        definition.load([])
    assert len(raised.value.findings) == 2


def test_warnings_stop_nothing(tmp_path):
    found = report(tmp_path, cluster={"nodes": {"saw-k8s-m-02": None, "saw-k8s-m-03": None}})
    assert found.cluster is not None
    assert [finding.path for finding in found.warnings] == ["nodes"]


def test_a_long_value_is_cut(tmp_path):
    found = report(tmp_path, cluster={"operator": {"user": "x" * 200}})
    assert len(found.errors[0].value) == 80


def test_the_cache_answers_until_a_file_changes(tmp_path):
    directories = overlaid(tmp_path)
    first = definition.load_cached(directories)
    assert definition.load_cached(directories) is first
    write(tmp_path / "overlay", cluster={"cluster": {"name": "other"}})
    assert definition.load_cached(directories).name == "other"


def test_the_cache_sees_a_file_of_the_same_size_and_time(tmp_path):
    directories = overlaid(tmp_path, cluster={"cluster": {"name": "one"}})
    assert definition.load_cached(directories).name == "one"
    path = tmp_path / "overlay/cluster.sls"
    before = path.stat()
    replacement = path.with_suffix(".new")
    replacement.write_text(path.read_text().replace("one", "two"))
    os.utime(replacement, ns=(before.st_atime_ns, before.st_mtime_ns))
    replacement.replace(path)
    assert definition.load_cached(directories).name == "two"


def test_a_broken_definition_is_not_cached(tmp_path):
    directories = overlaid(tmp_path, cluster={"cluster": {"nme": "x"}})
    for _ in range(2):
        with pytest.raises(DefinitionError):
            definition.load_cached(directories)
