"""The cloud-init drive that Proxmox builds from a VM's options: an ISO image labelled ``cidata`` with three files."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import Any

import pycdlib
import yaml

from lab.proxmox import config_values

ISO_NAMES = {"user-data": "/USERDATA.;1", "meta-data": "/METADATA.;1", "network-config": "/NETWORK.;1"}


def user_data(config: dict[str, str], vmid: int) -> str:
    """Return the cloud-config of a VM's options: host name, user, password, keys, upgrade."""
    name = config.get("name", f"VM{vmid}")
    host, _, domain = name.partition(".")
    data: dict[str, Any] = {"hostname": host, "manage_etc_hosts": True}
    data |= {"fqdn": name} if domain else {}
    data |= {"user": config["ciuser"]} if "ciuser" in config else {}
    data |= {"disable_root": False} if config.get("ciuser") == "root" else {}
    data |= {"password": config["cipassword"]} if "cipassword" in config else {}
    data |= {"ssh_authorized_keys": list(config_values.ssh_key_lines(config["sshkeys"]))} if "sshkeys" in config else {}
    data |= {"chpasswd": {"expire": False}, "users": ["default"]}
    data["package_upgrade"] = config.get("ciupgrade", "1") == "1"
    return "#cloud-config\n" + str(yaml.safe_dump(data, sort_keys=False))


def network_config(config: dict[str, str]) -> str:
    """Return the network configuration (version 1): each card by its MAC, named ``eth<N>``, and the name servers."""
    entries: list[dict[str, Any]] = []
    for index, mac in cards(config).items():
        subnets = _subnets(config.get(f"ipconfig{index}", ""))
        if subnets:
            entries.append({"type": "physical", "name": f"eth{index}", "mac_address": mac.lower(), "subnets": subnets})
    servers = config.get("nameserver", "").replace(",", " ").split()
    search = config.get("searchdomain", "").replace(",", " ").split()
    if servers or search:
        entries.append({"type": "nameserver", "address": servers, "search": search})
    return str(yaml.safe_dump({"version": 1, "config": entries}, sort_keys=False))


def _subnets(ipconfig: str) -> list[dict[str, str]]:
    """Return the subnets of an ``ipconfigN``: ``ip=10.0.0.5/24,gw=10.0.0.1`` -> one static entry."""
    values = config_values.parse_properties(ipconfig, "ip")
    found = []
    for key, gateway, kind in (("ip", "gw", "static"), ("ip6", "gw6", "static6")):
        address = values.get(key)
        if address == "dhcp":
            found.append({"type": f"{key.replace('ip', 'dhcp')}4" if key == "ip" else "dhcp6"})
        elif address == "auto":
            found.append({"type": "ipv6_slaac"})
        elif address:
            found.append(
                {"type": kind, "address": address} | ({"gateway": values[gateway]} if gateway in values else {})
            )
    return found


def cards(config: dict[str, str]) -> dict[int, str]:
    """Return the MAC of each network card by its number."""
    numbers = sorted(int(key[3:]) for key in config if re.fullmatch(r"net\d+", key))
    return {number: config_values.card_mac(config[f"net{number}"]) for number in numbers}


def meta_data(user: str, network: str) -> str:
    """Return the meta-data: an instance ID that changes with the content, so that cloud-init then runs again."""
    return f"instance-id: {hashlib.sha1((user + network).encode(), usedforsecurity=False).hexdigest()}\n"


def documents(config: dict[str, str], vmid: int) -> dict[str, str]:
    """Return the three files of the drive by name."""
    user, network = user_data(config, vmid), network_config(config)
    return {"user-data": user, "meta-data": meta_data(user, network), "network-config": network}


def seed_options(config: dict[str, str]) -> dict[str, str]:
    """Return the options that the drive is built from, to be compared with those at the last start."""
    names = ("name", "ciuser", "cipassword", "sshkeys", "ciupgrade", "nameserver", "searchdomain", "cicustom", "citype")
    chosen = [key for key in config if key in names or re.fullmatch(r"(net|ipconfig)\d+", key)]
    return {key: config[key] for key in sorted(chosen)}


def write_iso(files: dict[str, str], path: Path) -> None:
    """Write an ISO image labelled ``cidata`` (Joliet and Rock Ridge), readable by its owner only."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="cidata")
    for name, text in files.items():
        content = text.encode()
        iso.add_fp(io.BytesIO(content), len(content), ISO_NAMES[name], rr_name=name, joliet_path=f"/{name}")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    iso.write(str(path))
    iso.close()
