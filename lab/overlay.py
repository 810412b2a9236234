"""The lab's overlay of the definition: what the product is told about this machine, by its ordinary settings only."""

from pathlib import Path
from typing import Any

import yaml

from lab.host import Host
from lab.network import ADDRESS

MIRROR_PORT = 8080
REGISTRY_PORT = 5000
MIRRORED_REGISTRIES = ("registry.k8s.io", "quay.io")


def cluster(host: Host, disabled: list[str], ssh_keys: list[str]) -> dict[str, Any]:
    """The overlay of cluster.sls.

    Args:
        host: decides on the exceptions that this machine needs; usually none.
        disabled: artefacts that the lab's mirror does not have.
        ssh_keys: public keys of whoever uses the lab.

    Returns:
        Keys of docs/architecture.md.
    """
    data: dict[str, Any] = {
        "artefacts": {"mirror": f"http://{ADDRESS}:{MIRROR_PORT}", "disabled": disabled},
        "registries": {
            "mirrors": [
                {"registry": name, "mirror": f"{ADDRESS}:{REGISTRY_PORT}", "insecure": True}
                for name in MIRRORED_REGISTRIES
            ]
        },
        "operator": {"ssh_keys": ssh_keys},
        "cilium": {"values": _built_images()},
    }
    if host.kubelet_config:
        data["kubelet"] = {"config": host.kubelet_config}
    if host.ignored_preflight_errors:
        data["kubeadm"] = {"ignore_preflight_errors": host.ignored_preflight_errors}
    return data


def write(directory: Path, file_name: str, data: dict[str, Any]) -> bool:
    """Write one file of the overlay, if it differs.

    Returns:
        Whether it had to be written.
    """
    text = "# Written by the lab at each `make up`: settings of this machine. Change the checkout's pillar/ instead.\n"
    text += yaml.safe_dump(data, sort_keys=False)
    path = directory / file_name
    if path.exists() and path.read_text() == text:
        return False
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return True


def _built_images() -> dict[str, Any]:
    """Cilium's chart names its images by upstream's digests; those that the lab builds have digests of their own."""
    return {
        "image": {"useDigest": False},
        "operator": {"image": {"useDigest": False}},
        "hubble": {"relay": {"image": {"useDigest": False}}},
    }
