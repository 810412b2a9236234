"""A control-plane node and a worker for the tests of membership, with pillar and the files that kubeadm leaves."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from saltern import definition, node_pillar
from tests.salt_node import CHECKOUT, Node

ENDPOINT = "https://192.168.100.150:6443"
MODULES = [
    "bind_mount", "sandbox", "sealed", "account", "certificates", "config_file", "kube", "kubeadm", "kubeadm_config",
    "kubeadm_facts", "kubeadm_files", "kubeadm_output", "kubeadm_reset", "kubeadm_run",
    "kubeconfig_endpoints", "node_facts", "ports", "turn",
]  # fmt: skip
KEY_DATA = "U0VDUkVU"
# As kubeadm does, init leaves a kubeconfig of the kubelet that names the node's own API server.
KUBELET_CONF = """
if sys.argv[1:2] == ["init"] and "phase" not in sys.argv:
    etc = pathlib.Path(sys.argv[0]).parent.parent / "etc" / "kubernetes"
    etc.mkdir(parents=True, exist_ok=True)
    server = "https://192.168.100.151:6443"
    (etc / "kubelet.conf").write_text(json.dumps({"clusters": [{"cluster": {"server": server}}]}))
"""
NODES = {"control_plane": "saw-k8s-m-01", "worker": "saw-k8s-w-01"}
# An overlay fills in the sum that the shipped versions.sls leaves to the operator.
CLUSTER = definition.load([CHECKOUT / "pillar", Path(__file__).parent / "overlay"])


def pillar(role: str) -> dict[str, Any]:
    """Pillar of saw-k8s-m-01 (control_plane) or saw-k8s-w-01 (worker), as the definition of this checkout has it."""
    built = node_pillar.build(CLUSTER, NODES[role])
    built["saltern"]["kubeadm"]["ignore_preflight_errors"] = ["Swap"]
    return built


class Member(Node):
    """A node whose probes (kubelet, API server, endpoint, mount, ports) answer as the test says."""

    def __init__(self, root: Path, role: str = "control_plane", extra: Sequence[str] = ()) -> None:
        super().__init__(root, pillar(role), [*MODULES, *extra], minion_id=pillar(role)["saltern"]["node"]["name"])
        self.role = role
        self.run_directory = root / "run"
        vars(self.modules["kubeadm_run"])["RUN_DIRECTORY"] = str(self.run_directory)
        self.answers(kubelet_answers=True, api_server_ready=True, node_registered=True, endpoint_trusted=True)
        self.answers(mounted=True, ports_taken=[], etcd_leader=True)
        self.salt["node_facts.resolv_conf"] = lambda: "/run/systemd/resolve/resolv.conf"
        self.tool("kubeadm")
        self.tool("kubectl")

    def tool(self, name: str, script: str = "") -> None:
        """Put a fake tool into the sandbox; kubeadm does first what each kubeadm does."""
        super().tool(name, (KUBELET_CONF if name == "kubeadm" else "") + script)

    def answers(self, **facts: Any) -> None:
        """Make these functions of kubeadm_facts answer so."""
        for name, value in facts.items():
            self.salt[f"kubeadm_facts.{name}"] = lambda *_, value=value: value

    def with_files(self, server: str = ENDPOINT, ca: bytes | None = None) -> None:
        """Leave the files that kubeadm leaves on a member."""
        names = ["admin.conf", "kubelet.conf"] if self.role == "control_plane" else ["kubelet.conf"]
        for name in names:
            self.file("etc", "kubernetes", name, text=kubeconfig(server))
        self.file("etc", "kubernetes", "pki", "ca.crt").write_bytes(ca or certificate())
        if self.role == "control_plane":
            self.file("etc", "kubernetes", "manifests", "kube-apiserver.yaml")

    @property
    def marker(self) -> Path:
        """The marker of an unfinished call."""
        return Path(self.salt["kubeadm_facts.marker_path"]())

    def unfinished(self, verb: str) -> None:
        """Leave the marker of an unfinished call."""
        self.file("etc", "provisioner", "kubeadm-unfinished.json", text=f'{{"verb": "{verb}"}}')

    def verbs(self) -> list[str]:
        """The first word of each call of kubeadm; of ``init phase kubeconfig scheduler`` the last two."""
        words = [[word for word in call["argv"][1:] if not word.startswith("--")] for call in self.calls("kubeadm")]
        return [" ".join(call[2:]) if call[1:2] == ["phase"] else call[0] for call in words]

    def init_call(self) -> dict[str, Any]:
        """The call of ``kubeadm init`` itself, among those of its phases."""
        (call,) = [call for call in self.calls("kubeadm") if call["argv"][1] == "init" and "phase" not in call["argv"]]
        return call


# What an init of ours has kubeadm do, in order.
INIT = ["certs ca", "kubeconfig controller-manager", "kubeconfig scheduler", "init", "kubelet-finalize all"]


def kubeconfig(server: str) -> str:
    """A kubeconfig as far as facts read it, and a key that they must not show."""
    cluster = f"clusters: [{{name: kubernetes, cluster: {{server: '{server}'}}}}]"
    return f"{cluster}\nusers: [{{name: admin, user: {{client-key-data: {KEY_DATA}}}}}]\n"


def certificate() -> bytes:
    """A CA certificate of its own key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begin).not_valid_after(begin + datetime.timedelta(days=3650))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
