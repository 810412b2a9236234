"""CRI-O's configuration: the keys that move it into the sandbox, and where its images may come from."""

from __future__ import annotations

from typing import Any

from saltern.model import Cluster


def sandbox_keys(sandbox: str) -> dict[str, Any]:
    """The 18 keys of the provisioning workflow (reference document 0), dotted, for a sandbox root."""
    return {
        "crio.runtime.default_runtime": "runc",
        "crio.runtime.decryption_keys_path": f"{sandbox}/etc/crio/keys",
        "crio.runtime.container_exits_dir": f"{sandbox}/var/run/crio/exits",
        "crio.runtime.container_attach_socket_dir": f"{sandbox}/var/run/crio",
        "crio.runtime.namespaces_dir": f"{sandbox}/var/run",
        "crio.runtime.pinns_path": f"{sandbox}/usr/local/bin/pinns",
        "crio.runtime.runtimes.runc.runtime_root": f"{sandbox}/run/runc",
        "crio.api.listen": socket(sandbox),
        "crio.root": f"{sandbox}/var/lib/containers/storage",
        "crio.runroot": f"{sandbox}/var/run/containers/storage",
        "crio.version_file": f"{sandbox}/var/run/crio/version",
        "crio.log_dir": f"{sandbox}/var/logs/crio/pods",
        "crio.clean_shutdown_file": f"{sandbox}/var/lib/crio/clean.shutdown",
        "crio.network.network_dir": f"{sandbox}/etc/cni/net.d/",
        "crio.network.plugin_dirs": [f"{sandbox}/opt/cni/bin"],
        "crio.nri.nri_plugin_dir": f"{sandbox}/opt/nri/plugins",
        "crio.nri.nri_plugin_config_dir": f"{sandbox}/etc/nri/conf.d",
        "crio.nri.nri_listen": f"{sandbox}/var/run/nri/nri.sock",
    }


def socket(sandbox: str) -> str:
    """The socket's path, for CRI-O."""
    return f"{sandbox}/var/run/crio/crio.sock"


def socket_url(sandbox: str) -> str:
    """The socket as kubeadm and the kubelet name it."""
    return f"unix://{socket(sandbox)}"


def build(cluster: Cluster) -> dict[str, Any]:
    """The part ``crio`` of a node's pillar."""
    sandbox, registries = cluster.paths.sandbox, cluster.registries
    return {
        "bundle_config": f"{sandbox}/usr/share/crio/10-crio.conf",
        "config_path": f"{sandbox}/etc/crio/crio.conf.d/10-crio.conf",
        "keys": sandbox_keys(sandbox) | {"crio.image.pause_image": cluster.versions.pause_image} | cluster.crio,
        "environment_path": f"{sandbox}/etc/default/crio",
        "registries": {
            "allowed": list(registries.allowed),
            "mirrors": [mirror.model_dump() for mirror in registries.mirrors],
        },
    }
