"""CRI-O's keys, against document 0's list."""

from __future__ import annotations

from saltern import artefacts, crio
from tests.unit.saltern.definitions import shipped

# Reference document 0, for the sandbox /s.
DOCUMENT_KEYS = {
    "crio.runtime.default_runtime": "runc",
    "crio.runtime.decryption_keys_path": "/s/etc/crio/keys",
    "crio.runtime.container_exits_dir": "/s/var/run/crio/exits",
    "crio.runtime.container_attach_socket_dir": "/s/var/run/crio",
    "crio.runtime.namespaces_dir": "/s/var/run",
    "crio.runtime.pinns_path": "/s/usr/local/bin/pinns",
    "crio.runtime.runtimes.runc.runtime_root": "/s/run/runc",
    "crio.api.listen": "/s/var/run/crio/crio.sock",
    "crio.root": "/s/var/lib/containers/storage",
    "crio.runroot": "/s/var/run/containers/storage",
    "crio.version_file": "/s/var/run/crio/version",
    "crio.log_dir": "/s/var/logs/crio/pods",
    "crio.clean_shutdown_file": "/s/var/lib/crio/clean.shutdown",
    "crio.network.network_dir": "/s/etc/cni/net.d/",
    "crio.network.plugin_dirs": ["/s/opt/cni/bin"],
    "crio.nri.nri_plugin_dir": "/s/opt/nri/plugins",
    "crio.nri.nri_plugin_config_dir": "/s/etc/nri/conf.d",
    "crio.nri.nri_listen": "/s/var/run/nri/nri.sock",
}


def test_the_18_keys_follow_from_the_sandbox_root():
    assert crio.sandbox_keys("/s") == DOCUMENT_KEYS
    assert len(DOCUMENT_KEYS) == 18


def test_the_definition_adds_keys_after_the_18(tmp_path):
    keys = crio.build(shipped(tmp_path, {"crio": {"crio.runtime.log_level": "debug"}}))["keys"]
    assert list(keys)[:18] == list(DOCUMENT_KEYS)
    assert dict(list(keys.items())[18:]) == {
        "crio.image.pause_image": "registry.k8s.io/pause:3.10.2",
        "crio.runtime.log_level": "debug",
    }


def test_paths_and_registries(tmp_path):
    mirror = {"registry": "quay.io", "mirror": "192.168.100.1:5000", "insecure": True}
    built = crio.build(shipped(tmp_path, {"registries": {"mirrors": [mirror]}}))
    assert built["config_path"] == "/opt/sandbox/etc/crio/crio.conf.d/10-crio.conf"
    assert built["bundle_config"] == "/opt/sandbox/usr/share/crio/10-crio.conf"
    assert built["environment_path"] == "/opt/sandbox/etc/default/crio"
    assert built["registries"] == {"allowed": ["registry.k8s.io", "quay.io"], "mirrors": [mirror]}


def test_the_bundles_own_configuration_is_where_its_artefact_puts_it(tmp_path):
    cluster = shipped(tmp_path)
    files = artefacts.entry(cluster, "crio", "amd64")["files"]
    assert crio.build(cluster)["bundle_config"] in {file["path"] for file in files}
