"""The web service that proves a cluster: replicas on different nodes behind an address of MetalLB's."""

from __future__ import annotations

from typing import Any

from saltern.model import Cluster

NAMESPACE = "saltern-verification"
NAME = "web"
LABELS = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": NAMESPACE}
SERVICE_PORT = 80
CONTAINER_PORT = 8080  # above 1023: no capability is needed
NOBODY = 65534


def build(cluster: Cluster) -> dict[str, Any]:
    """The part ``verification`` of a control-plane node's pillar."""
    wanted = cluster.verification
    return {
        "enabled": wanted.enabled,
        "namespace": NAMESPACE,
        "service": NAME,
        "port": SERVICE_PORT,
        "replicas": wanted.replicas,
        "manifests": [namespace(), deployment(wanted.image, wanted.replicas), service()],
    }


def metadata(name: str) -> dict[str, Any]:
    """Name, namespace and labels."""
    return {"name": name, "namespace": NAMESPACE, "labels": dict(LABELS)}


def namespace() -> dict[str, Any]:
    """The namespace; it admits only pods that ask for nothing."""
    labels = LABELS | {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def deployment(image: str, replicas: int) -> dict[str, Any]:
    """The replicas, as evenly over the nodes that take pods as they can be."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(NAME),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": dict(LABELS)},
            "template": {"metadata": {"labels": dict(LABELS)}, "spec": pod(image)},
        },
    }


def pod(image: str) -> dict[str, Any]:
    """One web server without privileges."""
    return {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": NOBODY,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "DoNotSchedule",
                "nodeTaintsPolicy": "Honor",  # else a control-plane node counts as one that has no replica yet
                "labelSelector": {"matchLabels": dict(LABELS)},
            }
        ],
        "containers": [container(image)],
    }


def container(image: str) -> dict[str, Any]:
    """agnhost's web server: /hostname answers with the pod's name."""
    return {
        "name": NAME,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["netexec", f"--http-port={CONTAINER_PORT}"],
        "ports": [{"name": "http", "containerPort": CONTAINER_PORT}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 2},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def service() -> dict[str, Any]:
    """The service that MetalLB gives an address."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(NAME),
        "spec": {
            "type": "LoadBalancer",
            "selector": dict(LABELS),
            "ports": [{"name": "http", "port": SERVICE_PORT, "targetPort": CONTAINER_PORT, "protocol": "TCP"}],
        },
    }
