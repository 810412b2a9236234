"""Which versions were tested together by their makers."""

from __future__ import annotations

# Oldest and newest Kubernetes minor that a Cilium minor is tested with.
# Source: docs.cilium.io, Kubernetes Compatibility.
CILIUM_KUBERNETES: dict[str, tuple[int, int]] = {
    "1.20": (33, 36),
}


def cilium_doubt(cilium: str, kubernetes: str) -> str | None:
    """What speaks against a pair of versions, or None.

    Args:
        cilium: Cilium's version, e.g. "1.20.1".
        kubernetes: Kubernetes' version, e.g. "1.36.4".
    """
    minor = cilium.rpartition(".")[0]
    tested = CILIUM_KUBERNETES.get(minor)
    if tested is None:
        return f"nothing is known here about Cilium {minor} with Kubernetes {kubernetes}"
    oldest, newest = tested
    if oldest <= int(kubernetes.split(".")[1]) <= newest:
        return None
    return f"Cilium {minor} is tested with Kubernetes 1.{oldest} to 1.{newest}, not with {kubernetes}"
