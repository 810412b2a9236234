"""Rows that the product writes: files, and their place in the definition."""

from __future__ import annotations

import threading

import pytest
import yaml

from saltern import definition
from saltern.rows import RowError, Rows
from tests.unit.saltern.definitions import overlaid

NAME = "saw-k8s-w-05"
ROW = {"role": "worker", "address": "192.168.100.160", "cpus": 2, "memory_gib": 16, "disk_gib": 20}


@pytest.fixture
def rows(tmp_path):
    return Rows(tmp_path / "state", "saw-k8s")


@pytest.fixture
def check(tmp_path, rows):
    """check(overlay) is the report on the shipped definition with that overlay and the product's rows."""
    return lambda cluster=None: definition.check(overlaid(tmp_path, cluster), tmp_path / "state")


def test_a_row_is_a_line_of_the_table(rows):
    path = rows.add(NAME, ROW)
    assert path.read_text().splitlines()[-1] == (
        "saw-k8s-w-05: {role: worker, address: 192.168.100.160, cpus: 2, memory_gib: 16, disk_gib: 20}"
    )
    assert yaml.safe_load(path.read_text()) == {NAME: ROW}
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_was_added_is_there_until_it_is_removed(rows):
    rows.add(NAME, ROW)
    assert rows.rows() == {NAME: ROW}
    assert rows.remove(NAME)
    assert (rows.rows(), rows.files()) == ({}, [])
    assert not rows.remove(NAME)


def test_removing_without_any_row_makes_nothing(rows, tmp_path):
    assert not rows.remove(NAME)
    assert not (tmp_path / "state").exists()


def test_the_same_row_may_be_written_again_and_changed(rows):
    rows.add(NAME, ROW)
    rows.add(NAME, ROW | {"cpus": 4})
    assert rows.rows()[NAME]["cpus"] == 4


def test_an_address_is_given_once(rows):
    rows.add(NAME, ROW)
    with pytest.raises(RowError, match=r"160 is the address of saw-k8s-w-05 .*: rm .*/saw-k8s-w-05\.yml"):
        rows.add("saw-k8s-w-06", ROW)
    assert list(rows.rows()) == [NAME]


def test_of_many_writers_of_one_address_one_succeeds(rows):
    refused = []
    together = threading.Barrier(12)

    def add(number):
        together.wait()
        try:
            rows.add(f"saw-k8s-w-{number}", ROW)
        except RowError as err:
            refused.append(err)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(refused), len(rows.files())) == (11, 1)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "Saw_05", ".hidden"])
def test_a_name_does_not_leave_the_directory(rows, name):
    for act in (lambda: rows.add(name, ROW), lambda: rows.remove(name)):
        with pytest.raises(RowError, match="no DNS label"):
            act()


def test_a_written_row_is_in_the_table_behind_the_operators(rows, check):
    rows.add(NAME, ROW)
    found = check()
    assert (found.errors, found.warnings) == ((), ())
    assert list(found.cluster.nodes)[-1] == NAME
    assert str(found.cluster.nodes[NAME].address) == "192.168.100.160"
    assert str(found.cluster.next_worker_address([])) == "192.168.100.161"


def test_without_a_state_directory_the_table_is_the_operators(rows, tmp_path):
    rows.add(NAME, ROW)
    assert NAME not in definition.load(overlaid(tmp_path)).nodes


def test_rows_belong_to_one_cluster(rows, check):
    rows.add(NAME, ROW)
    assert NAME not in check({"cluster": {"name": "other"}}).cluster.nodes


@pytest.mark.parametrize("own", [ROW | {"cpus": 8}, None])
def test_a_row_that_the_operator_names_is_the_operators_and_told(rows, check, own):
    path = rows.add(NAME, ROW)
    found = check({"nodes": {NAME: own}})
    assert (NAME in found.cluster.nodes) is (own is not None)
    assert own is None or found.cluster.nodes[NAME].cpus == 8
    (warning,) = found.warnings
    assert (warning.path, warning.file, warning.remedy) == (f"nodes.{NAME}", path, f"delete the other: rm {path}")
    assert "overlay/cluster.sls:2) counts" in warning.rule


def test_what_is_wrong_with_a_written_row_names_its_file_and_line(rows, check):
    path = rows.add(NAME, ROW | {"address": "192.168.100.154", "cpus": 0})
    found = {finding.path: finding for finding in check().errors}
    assert set(found) == {f"nodes.{NAME}.address", f"nodes.{NAME}.cpus"}
    assert "also the address of saw-k8s-w-01" in found[f"nodes.{NAME}.address"].rule
    assert {(finding.file, finding.line) for finding in found.values()} == {(path, 3)}


def test_a_file_that_is_no_yaml_is_named(rows, check):
    path = rows.add(NAME, ROW)
    path.write_text("saw-k8s-w-05: {role: worker\n")
    (finding,) = check().errors
    assert (finding.file, finding.rule[:9]) == (path, "not YAML:")
    assert rows.rows() == {NAME: {}}


def test_the_cache_sees_rows_come_and_go(rows, tmp_path):
    directories = overlaid(tmp_path)

    def known():
        return NAME in definition.load_cached(directories, tmp_path / "state").nodes

    seen = [known()]
    for change in (lambda: rows.add(NAME, ROW), lambda: rows.remove(NAME), lambda: rows.add(NAME, ROW)):
        change()
        seen.append(known())
    assert seen == [False, True, False, True]
