"""Reading the files: merge order, lines, duplicate keys, Jinja, what is not YAML."""

from __future__ import annotations

from pathlib import Path

import pytest

from saltern import source


def read(tmp_path: Path, *cluster_files: str) -> source.Document:
    """Read cluster.sls files, one a directory, with an empty versions.sls in the first."""
    directories = []
    for number, text in enumerate(cluster_files):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "cluster.sls").write_text(text)
        directories.append(directory)
    (directories[0] / "versions.sls").write_text("kubernetes: 1.36.4\n")
    return source.read(directories)


def test_the_later_directory_wins_and_mappings_merge(tmp_path):
    document = read(tmp_path, "a: {x: 1, y: [1, 2]}\nb: 1\n", "a: {y: [3]}\n")
    assert document.data == {"a": {"x": 1, "y": [3]}, "b": 1, "versions": {"kubernetes": "1.36.4"}}
    assert not document.errors


def test_null_takes_a_row_away_but_is_a_value_elsewhere(tmp_path):
    base = "nodes: {m: {role: worker}, w: {role: worker}}\ncluster: {virtual_address: 10.0.0.1}\n"
    document = read(tmp_path, base, "nodes: {w: null}\ncluster: {virtual_address: null}\n")
    assert document.data["nodes"] == {"m": {"role": "worker"}}
    assert document.data["cluster"] == {"virtual_address": None}


def test_null_for_a_row_that_is_not_there_is_no_row(tmp_path):
    assert read(tmp_path, "nodes: {w: null}\n").data["nodes"] == {}


def test_each_key_knows_the_file_and_line_that_count(tmp_path):
    document = read(tmp_path, "a:\n  x: 1\n  y: 2\n", "a:\n\n  y: 3\n")
    assert document.place(("a", "x")) == source.Place(tmp_path / "0/cluster.sls", 2)
    assert document.place(("a", "y")) == source.Place(tmp_path / "1/cluster.sls", 3)
    assert document.place(("versions", "kubernetes")) == source.Place(tmp_path / "0/versions.sls", 1)


def test_a_missing_key_is_placed_at_the_nearest_one_above_it(tmp_path):
    document = read(tmp_path, "a:\n  x: 1\n")
    assert document.place(("a", "z", "deep")) == source.Place(tmp_path / "0/cluster.sls", 1)
    assert document.place(("z",)) is None


def test_a_name_that_is_there_twice_is_an_error_with_both_lines(tmp_path):
    document = read(tmp_path, "nodes:\n  m-01: {role: worker}\n  m-02: {}\n  m-01: {role: worker}\n")
    (finding,) = document.errors
    assert (finding.path, finding.line) == ("nodes.m-01", 4)
    assert "first on line 2" in finding.rule


@pytest.mark.parametrize("line", ["a: '{{ pillar.x }}'", "{% set a = 1 %}"])
def test_jinja_is_refused_with_its_line(tmp_path, line):
    (finding,) = read(tmp_path, f"# a comment may show {{{{ this }}}}\nb: 1\n{line}\n").errors
    assert finding.line == 3
    assert "Jinja" in finding.rule


def test_nested_braces_of_yaml_are_not_jinja(tmp_path):
    document = read(tmp_path, "a: {b: {c: {d: 1}}}\n")
    assert not document.errors
    assert document.data["a"] == {"b": {"c": {"d": 1}}}


def test_what_is_not_yaml_is_reported_with_its_line(tmp_path):
    (finding,) = read(tmp_path, "a: 1\nb: [1, 2\nc: 3\n").errors
    assert finding.rule.startswith("not YAML")
    assert finding.line == 3


def test_a_list_is_not_a_definition(tmp_path):
    (finding,) = read(tmp_path, "- a\n- b\n").errors
    assert finding.rule == "the file is not a mapping"


def test_versions_belong_into_their_own_file(tmp_path):
    document = read(tmp_path, "a: 1\nversions: {kubernetes: 1.0.0}\n")
    (finding,) = document.errors
    assert (finding.path, finding.line) == ("versions", 2)
    assert "versions.sls" in finding.remedy
    assert document.data["versions"] == {"kubernetes": "1.36.4"}


def test_an_empty_file_adds_nothing(tmp_path):
    assert read(tmp_path, "a: 1\n", "# nothing yet\n").data["a"] == 1


def test_a_file_that_is_nowhere_is_an_error_that_names_where_it_was_looked_for(tmp_path):
    errors = source.read([tmp_path]).errors
    assert [finding.rule for finding in errors] == [
        f"there is no cluster.sls (looked in: {tmp_path})",
        f"there is no versions.sls (looked in: {tmp_path})",
    ]


def test_a_directory_that_is_not_there_is_a_warning(tmp_path):
    (tmp_path / "cluster.sls").write_text("a: 1\n")
    (tmp_path / "versions.sls").write_text("b: 1\n")
    document = source.read([tmp_path, tmp_path / "overlay"])
    assert not document.errors
    assert [finding.value for finding in document.warnings] == [str(tmp_path / "overlay")]


def test_a_file_in_another_encoding_is_reported(tmp_path):
    (tmp_path / "cluster.sls").write_bytes(b"a: \xff\n")
    (tmp_path / "versions.sls").write_text("b: 1\n")
    (finding,) = source.read([tmp_path]).errors
    assert finding.rule.startswith("cannot be read")
