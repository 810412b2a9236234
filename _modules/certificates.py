"""
How long the certificates of a node are still valid. Reads certificates only, never a key.
"""

import base64
import contextlib
import datetime
import math
from pathlib import Path

import yaml
from cryptography import x509

DAY = datetime.timedelta(days=1)
# The kubelet's own, which it renews by itself. Not kubelet.crt: it is signed by nobody and checked by nobody.
KUBELET = "kubelet client"
KUBELET_PATH = "/var/lib/kubelet/pki/kubelet-client-current.pem"
END = b"-----END CERTIFICATE-----"


def expiries(role=None, kubelet_path=KUBELET_PATH):
    """
    Tell of every certificate of this node when it ends, the first to end first:
    ``[{"name", "days", "lifetime_days"}]``, days left as a number with one decimal, negative once it has ended.

    role
        The node's role; default its own.

    kubelet_path
        Where the kubelet keeps its client certificate.

    CLI Example:

    .. code-block:: bash

        salt '*' certificates.expiries
    """
    role = role or __pillar__["saltern"]["node"]["role"]
    now = datetime.datetime.now(datetime.UTC)
    found = _balancer() if role == "load_balancer" else _node(kubelet_path)
    told = [{"name": name} | validity(pem, now) for name, pem in found]
    return sorted(told, key=lambda item: (item["days"], item["name"]))


def validity(pem, now):
    """
    Tell how long the first certificate of some PEM text is valid: ``{"days", "lifetime_days"}``. Days left are rounded
    down, so that they are negative from its very end on.

    pem
        Bytes; what else is in them is not looked at.

    now
        The moment to count from, with its time zone.

    CLI Example: none, it is for Python.
    """
    certificate = x509.load_pem_x509_certificate(pem)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return {"days": math.floor((end - now) / DAY * 10) / 10, "lifetime_days": round((end - begin) / DAY, 1)}


def _node(kubelet_path):
    """kubeadm's certificates by their path below pki, the clients' inside of kubeconfigs by file, the kubelet's."""
    etc = Path(__salt__["sandbox.path"]("etc", "kubernetes"))
    for path in sorted((etc / "pki").rglob("*.crt")):
        yield str(path.relative_to(etc / "pki").with_suffix("")), path.read_bytes()
    for path in sorted(etc.glob("*.conf")):
        if pem := _client_certificate(path):
            yield path.name, pem
    with contextlib.suppress(FileNotFoundError):
        yield KUBELET, _first_certificate(Path(kubelet_path).read_bytes())


def _balancer():
    """What HAProxy checks the API servers with, once it is there."""
    path = Path(__pillar__["saltern"]["haproxy"]["ca_path"])
    return [("kubernetes-ca", path.read_bytes())] if path.exists() else []


def _client_certificate(kubeconfig):
    """The certificate inside of a kubeconfig; None when it names a file instead (the kubelet's does)."""
    user = (yaml.safe_load(kubeconfig.read_text()).get("users") or [{}])[0].get("user") or {}
    data = user.get("client-certificate-data")
    return base64.b64decode(data) if data else None


def _first_certificate(pem):
    """The certificate of a file that holds a key too: the key goes no further than here."""
    begin = pem.index(b"-----BEGIN CERTIFICATE-----")
    return pem[begin : pem.index(END, begin) + len(END)]
