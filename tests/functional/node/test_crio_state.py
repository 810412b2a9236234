"""crio.configured and toml_file.keys on real files; the bundle's configuration is upstream's 1.36.3."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.functional.node.conftest import Minion

# cri-o/etc/10-crio.conf of the bundle cri-o.amd64.v1.36.3.tar.gz
BUNDLE = """\
[crio.image]
signature_policy = "/etc/crio/policy.json"

[crio.runtime]
default_runtime = "crun"

[crio.runtime.runtimes.crun]
runtime_path = "/usr/libexec/crio/crun"
runtime_root = "/run/crun"
monitor_path = "/usr/libexec/crio/conmon"
allowed_annotations = [
    "io.containers.trace-syscall",
]

[crio.runtime.runtimes.runc]
runtime_path = "/usr/libexec/crio/runc"
runtime_root = "/run/runc"
monitor_path = "/usr/libexec/crio/conmon"
"""


class Sandbox:
    """A sandbox with the bundle's configuration and runtimes, and the pillar that goes with it."""

    def __init__(self, root: Path, runtimes: tuple[str, ...] = ("runc", "crun")) -> None:
        self.root = root
        self.bundle = root / "usr/share/crio/10-crio.conf"
        self.bundle.parent.mkdir(parents=True)
        self.bundle.write_text(BUNDLE)
        (root / "usr/libexec/crio").mkdir(parents=True)
        for runtime in runtimes:
            (root / "usr/libexec/crio" / runtime).touch(0o755)
        self.settings: dict[str, Any] = {
            "bundle_config": str(self.bundle),
            "config_path": str(root / "etc/crio/crio.conf.d/10-crio.conf"),
            "environment_path": str(root / "etc/default/crio"),
            "keys": {
                "crio.runtime.default_runtime": "runc",
                "crio.runtime.runtimes.runc.runtime_root": f"{root}/run/runc",
                "crio.api.listen": f"{root}/var/run/crio/crio.sock",
                "crio.network.plugin_dirs": [f"{root}/opt/cni/bin"],
            },
            "registries": {
                "allowed": ["quay.io"],
                "mirrors": [{"registry": "registry.k8s.io", "mirror": "192.168.100.1:5000", "insecure": True}],
            },
        }
        self.where = {"sandbox": str(root), "settings": self.settings}

    def config(self) -> dict[str, Any]:
        return tomllib.loads(Path(self.settings["config_path"]).read_text())["crio"]


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path / "sandbox")


def test_the_bundles_content_stays_the_keys_are_set(minion: Minion, sandbox: Sandbox) -> None:
    done = minion.settle("crio.configured", **sandbox.where)
    assert set(done["changes"]) == {
        f"{sandbox.root}/{path}"
        for path in (
            "etc/crio/crio.conf.d/10-crio.conf", "etc/default/crio", "etc/containers/policy.json", "etc/crictl.yaml",
            "etc/containers/registries.conf", "etc/containers/registries.conf.d/50-mirrors.conf",
        )
    }  # fmt: skip
    config = sandbox.config()
    assert config["runtime"]["default_runtime"] == "runc"
    assert config["runtime"]["runtimes"]["crun"]["allowed_annotations"] == ["io.containers.trace-syscall"]
    assert config["runtime"]["runtimes"]["runc"] == {
        "runtime_path": f"{sandbox.root}/usr/libexec/crio/runc",
        "runtime_root": f"{sandbox.root}/run/runc",
        "monitor_path": f"{sandbox.root}/usr/libexec/crio/conmon",
    }
    assert config["image"]["signature_policy"] == f"{sandbox.root}/etc/containers/policy.json"
    assert config["network"]["plugin_dirs"] == [f"{sandbox.root}/opt/cni/bin"]
    assert sandbox.bundle.read_text() == BUNDLE


def test_one_key_is_named_with_old_and_new(minion: Minion, sandbox: Sandbox) -> None:
    minion.apply("crio.configured", **sandbox.where)
    sandbox.settings["keys"]["crio.runtime.log_level"] = "debug"
    preview = minion.preview("crio.configured", **sandbox.where)
    change = {sandbox.settings["config_path"]: {"crio.runtime.log_level": {"old": None, "new": "debug"}}}
    assert preview["changes"] == change
    assert "log_level" not in Path(sandbox.settings["config_path"]).read_text()
    assert minion.settle("crio.configured", **sandbox.where)["changes"] == change


def test_a_runtime_that_the_bundle_lacks_is_dropped_but_never_the_default(minion: Minion, tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path / "lean", runtimes=())
    minion.settle("crio.configured", **sandbox.where)
    assert list(sandbox.config()["runtime"]["runtimes"]) == ["runc"]


def test_an_explicit_runtime_path_is_the_operators(minion: Minion, sandbox: Sandbox) -> None:
    sandbox.settings["keys"]["crio.runtime.runtimes.runc.runtime_path"] = "/usr/libexec/crio/other"
    minion.settle("crio.configured", **sandbox.where)
    assert sandbox.config()["runtime"]["runtimes"]["runc"]["runtime_path"] == "/usr/libexec/crio/other"


def test_images_come_from_the_configured_registries_only(minion: Minion, sandbox: Sandbox) -> None:
    minion.settle("crio.configured", **sandbox.where)
    policy = json.loads((sandbox.root / "etc/containers/policy.json").read_text())
    assert policy["default"] == [{"type": "reject"}]
    assert set(policy["transports"]) == {"docker"}
    assert set(policy["transports"]["docker"]) == {"quay.io", "registry.k8s.io"}
    registries = tomllib.loads((sandbox.root / "etc/containers/registries.conf").read_text())
    assert registries["unqualified-search-registries"] == []
    mirrors = tomllib.loads((sandbox.root / "etc/containers/registries.conf.d/50-mirrors.conf").read_text())
    assert mirrors == {
        "registry": [{"location": "registry.k8s.io", "mirror": [{"location": "192.168.100.1:5000", "insecure": True}]}]
    }


def test_two_mirrors_of_one_registry_are_tried_in_order(minion: Minion) -> None:
    entries = [
        {"registry": "quay.io", "mirror": "first:5000", "insecure": False},
        {"registry": "quay.io", "mirror": "second:5000", "insecure": True},
    ]
    (registry,) = minion.call("crio.mirrors", entries)["registry"]
    assert [mirror["location"] for mirror in registry["mirror"]] == ["first:5000", "second:5000"]


def test_crio_finds_its_configuration_and_registries_by_its_environment(minion: Minion, sandbox: Sandbox) -> None:
    minion.settle("crio.configured", **sandbox.where)
    lines = Path(sandbox.settings["environment_path"]).read_text().splitlines()
    assert lines == [
        f'CRIO_CONFIG_OPTIONS="--config-dir={sandbox.root}/etc/crio/crio.conf.d"',
        f"CONTAINER_REGISTRIES_CONF={sandbox.root}/etc/containers/registries.conf",
        f"CONTAINER_REGISTRIES_CONF_DIR={sandbox.root}/etc/containers/registries.conf.d",
    ]


def test_without_the_bundle_the_order_is_named(minion: Minion, sandbox: Sandbox) -> None:
    sandbox.bundle.unlink()
    assert minion.preview("crio.configured", **sandbox.where)["result"] is None
    done = minion.apply("crio.configured", **sandbox.where)
    assert done["result"] is False
    assert "apply the state binaries first" in done["comment"]


def test_damaged_files_are_mended(minion: Minion, sandbox: Sandbox) -> None:
    minion.apply("crio.configured", **sandbox.where)
    path = Path(sandbox.settings["config_path"])
    path.write_text("not = = toml")
    (sandbox.root / "etc/crictl.yaml").unlink()
    done = minion.settle("crio.configured", **sandbox.where)
    assert set(done["changes"]) == {str(path), f"{sandbox.root}/etc/crictl.yaml"}


def test_keys_of_a_toml_file(minion: Minion, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[a]\nkeep = true\nchange = 1\n[[list]]\nname = "x"\n')
    values = {"a.change": 2, 'b."dotted.name".c': ["x", "y"]}
    done = minion.settle("toml_file.keys", str(path), values=values)
    assert done["changes"] == {
        "a.change": {"old": 1, "new": 2},
        'b."dotted.name".c': {"old": None, "new": ["x", "y"]},
    }
    assert tomllib.loads(path.read_text()) == {
        "a": {"keep": True, "change": 2},
        "b": {"dotted.name": {"c": ["x", "y"]}},
        "list": [{"name": "x"}],
    }


def test_toml_that_cannot_be_read_is_not_overwritten(minion: Minion, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("a = = 1\n")
    done = minion.apply("toml_file.keys", str(path), values={"a": 1})
    assert done["result"] is False
    assert f"{path}: Invalid value (at line 1, column 5)" in done["comment"]
    assert path.read_text() == "a = = 1\n"
