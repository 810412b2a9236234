"""The external pillar as the master compiles it: Salt's own pillar compiler, with the checkout as module directory."""

from __future__ import annotations

import pytest
import salt._logging
import salt.config
import salt.loader
import salt.pillar

from saltern import definition
from saltern.rows import Rows
from tests.unit.saltern.definitions import CHECKOUT, overlaid, write


@pytest.fixture(autouse=True)
def no_early_log():
    """Salt keeps records for a console that it sets up later; in a test it never does."""
    salt._logging.shutdown_temp_handler()


@pytest.fixture
def options(tmp_path):
    """A master's options, as docs/architecture.md shows them."""
    return dict(salt.config.master_config(None)) | {
        "id": "master",
        "cachedir": str(tmp_path / "cache"),
        "extension_modules": str(tmp_path / "cache/extmods"),
        "pillar_roots": {"base": []},
        "file_roots": {"base": []},
        "file_client": "local",
        "module_dirs": [str(CHECKOUT / "salt")],
        "ext_pillar": [{"saltern": {}}],
        "saltern": {
            "pillar_dirs": [str(path) for path in overlaid(tmp_path)],
            "state_dir": str(tmp_path / "state"),
        },
        "pillar_cache": False,
    }


def compile_pillar(options, minion_id, **grains):
    """What a minion gets."""
    return salt.pillar.Pillar(options, {"id": minion_id, "os": "Debian", **grains}, minion_id, "base").compile_pillar()


def test_a_minion_gets_its_part(options):
    pillar = compile_pillar(options, "saw-k8s-w-01")
    assert pillar["saltern"]["node"]["address"] == "192.168.100.154"
    assert "_errors" not in pillar


def test_a_stranger_gets_nothing(options):
    assert compile_pillar(options, "stranger") == {}


def test_what_a_minion_says_of_itself_changes_nothing(options):
    honest = compile_pillar(options, "saw-k8s-w-01")
    lying = compile_pillar(options, "saw-k8s-w-01", role="control_plane", roles=["control_plane"], osarch="arm64")
    assert lying == honest


def test_an_invalid_definition_is_told_in_full_and_once(options, tmp_path, caplog):
    write(tmp_path / "overlay", cluster={"cluster": {"nme": "x"}, "nodes": {"saw-k8s-m-03": None}})
    (error,) = compile_pillar(options, "saw-k8s-w-01")["_errors"]
    assert "has 2 errors" in error
    assert "cluster.nme" in error
    assert "an even number of etcd members" in error
    assert f"{tmp_path}/overlay/cluster.sls:2" in error
    assert "docs/runbooks/definition-key.md" in error
    assert [record for record in caplog.records if record.exc_info or "Traceback" in record.message] == []
    assert "Exception caught" not in caplog.text


def test_a_master_without_directories_says_what_to_set(options):
    del options["saltern"]
    (error,) = compile_pillar(options, "saw-k8s-w-01")["_errors"]
    assert "saltern:pillar_dirs" in error


def test_a_change_of_the_definition_is_seen_without_a_restart(options, tmp_path):
    assert compile_pillar(options, "saw-k8s-w-01")["saltern"]["cluster"]["name"] == "saw-k8s"
    write(tmp_path / "overlay", cluster={"cluster": {"name": "other"}})
    assert compile_pillar(options, "saw-k8s-w-01")["saltern"]["cluster"]["name"] == "other"


def test_a_row_that_salt_cloud_wrote_is_a_node_from_then_on(options, tmp_path):
    assert "saltern" not in compile_pillar(options, "saw-k8s-w-05")
    rows = Rows(tmp_path / "state", "saw-k8s")
    size = {"cpus": 2, "memory_gib": 16, "disk_gib": 20}
    rows.add("saw-k8s-w-05", {"role": "worker", "address": "192.168.100.160", **size})
    assert compile_pillar(options, "saw-k8s-w-05")["saltern"]["node"]["address"] == "192.168.100.160"
    rows.remove("saw-k8s-w-05")
    assert "saltern" not in compile_pillar(options, "saw-k8s-w-05")


def test_a_hundred_minions_parse_the_definition_once(options, monkeypatch):
    parsed = []
    whole_check = definition.check
    monkeypatch.setattr(definition, "check", lambda *places: parsed.append(1) or whole_check(*places))
    modules = salt.loader.pillars(options, {})
    for number in range(100):
        modules["saltern"](f"minion-{number}", {})
    assert len(parsed) == 1
