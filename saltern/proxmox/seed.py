"""The seed image: what a machine reads on its first boot (cloud-init's NoCloud data source on a CD).

It carries the minion's private key, so it is built in memory, never as a file here; on Proxmox it lives until the
machine has used it. Source: cloud-init's documentation of NoCloud and of network configuration version 2.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pycdlib

if TYPE_CHECKING:
    from saltern.model import MachineSpec

_LABEL = "cidata"
_INTERFACE = "eth0"
_PKI = "/etc/salt/pki/minion"
_UNIT = "/etc/systemd/system/salt-minion.service"


@dataclass(frozen=True)
class MinionIdentity:
    """What makes the machine's minion known to its master, and the master known to it.

    Attributes:
        master: address of the master.
        private_key, public_key: the minion's, PEM; the master has accepted the public one.
        master_public_key: PEM.
    """

    master: str
    private_key: str = field(repr=False)
    public_key: str
    master_public_key: str


@dataclass(frozen=True)
class Operator:
    """The person's account on the machine: name, group and SSH public keys (a line each)."""

    user: str
    group: str
    ssh_keys: tuple[str, ...] = ()


def image(spec: MachineSpec, mac: str, minion: MinionIdentity, operator: Operator, instance_id: str) -> bytes:
    """Build the seed of one machine.

    Args:
        spec: name, address, prefix length, gateway and name servers.
        mac: MAC address by which the machine finds its interface.
        minion: keys and master.
        operator: account to make.
        instance_id: a new one makes cloud-init treat the machine as new.

    Returns: an ISO 9660 image labelled cidata with user-data, meta-data and network-config.
    """
    return _iso(
        {
            "user-data": "#cloud-config\n" + _document(user_data(spec.name, minion, operator)),
            "meta-data": _document({"instance-id": instance_id, "local-hostname": spec.name}),
            "network-config": _document(network_config(spec, mac)),
        }
    )


def user_data(name: str, minion: MinionIdentity, operator: Operator) -> dict[str, Any]:
    """The machine's cloud-config: host name, the operator's account, the minion's identity and its start."""
    return {
        "hostname": name,
        "preserve_hostname": False,
        "package_update": False,
        "package_upgrade": False,
        "ssh_pwauth": False,
        "groups": [operator.group],
        "users": [_account(operator)],
        # Before write_files, which would make the directory readable for all.
        "bootcmd": [["install", "-d", "-m", "0700", "/etc/salt/pki", _PKI], ["install", "-d", "/etc/salt/minion.d"]],
        "write_files": [
            # The unit of Salt's own packages leaves a minion that was killed dead; its node would need a person then.
            _file(f"{_UNIT}.d/saltern.conf", "0644", "[Service]\nRestart=on-failure\nRestartSec=5\n"),
            _file("/etc/salt/minion.d/saltern.conf", "0644", _document({"master": minion.master, "id": name})),
            _file(f"{_PKI}/minion.pem", "0400", minion.private_key),
            _file(f"{_PKI}/minion.pub", "0644", minion.public_key),
            _file(f"{_PKI}/minion_master.pub", "0644", minion.master_public_key),
        ],
        # Restarted, not started: the image may have started its minion before the keys were there. Not waited for:
        # the minion's unit may be ordered after cloud-init, which is what runs this.
        "runcmd": [
            ["systemctl", "daemon-reload"],
            ["systemctl", "enable", "salt-minion.service"],
            ["systemctl", "restart", "--no-block", "salt-minion.service"],
        ],
    }


def network_config(spec: MachineSpec, mac: str) -> dict[str, Any]:
    """The machine's one interface, found by its MAC address: fixed address, default route, name servers."""
    interface = {
        "match": {"macaddress": mac.lower()},
        "set-name": _INTERFACE,
        "dhcp4": False,
        "addresses": [f"{spec.address}/{spec.prefix_length}"],
        # Not "default", nor gateway4: all of cloud-init's renderers know this form.
        "routes": [{"to": "0.0.0.0/0", "via": str(spec.gateway)}],
        "nameservers": {"addresses": [str(server) for server in spec.dns]},
    }
    return {"version": 2, "ethernets": {_INTERFACE: interface}}


def _account(operator: Operator) -> dict[str, Any]:
    """As Proxmox's own cloud-init makes `ciuser`: no password, sudo, in by key only."""
    return {
        "name": operator.user,
        "primary_group": operator.group,
        "shell": "/bin/bash",
        "lock_passwd": True,
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "ssh_authorized_keys": list(operator.ssh_keys),
    }


def _file(path: str, mode: str, content: str) -> dict[str, str]:
    return {"path": path, "owner": "root:root", "permissions": mode, "content": content}


def _document(data: dict[str, Any]) -> str:
    """JSON, which every YAML parser reads: no value can change its type on the way."""
    return json.dumps(data, indent=1) + "\n"


def _iso(files: dict[str, str]) -> bytes:
    disc = pycdlib.PyCdlib()
    disc.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=_LABEL)
    for name, text in files.items():
        content = text.encode()
        # The ISO 9660 name is short and plain; Rock Ridge and Joliet carry the real one.
        short = name.upper().replace("-", "")[:8]
        disc.add_fp(io.BytesIO(content), len(content), iso_path=f"/{short}.;1", rr_name=name, joliet_path=f"/{name}")
    out = io.BytesIO()
    disc.write_fp(out)
    disc.close()
    return out.getvalue()
