"""What a new installation holds: root, the product's user with its least privileges and token, the template."""

from __future__ import annotations

import secrets
from pathlib import Path

from lab.proxmox import config_values
from lab.proxmox.access import ROOT, Rule
from lab.proxmox.datacentre import Datacentre
from lab.proxmox.guests import Guest
from lab.proxmox.privileges import SALTERN_ROLES
from lab.proxmox.settings import Template
from lab.proxmox.store import write_private
from lab.proxmox.volumes import Volume

USER = "saltern@pve"
TOKEN = "salt"  # noqa: S105  (the name of the token, not its secret)


def populate(datacentre: Datacentre) -> None:
    """Make what is missing of the initial content; what is there stays, so it can run at every start.

    The passwords are in ``credentials/root@pam.password`` and ``credentials/saltern@pve.password``, the token as
    ``user@realm!name=secret`` in ``credentials/saltern@pve!salt.token`` (mode 0600; a password file that is
    there already is taken as it is).
    """
    is_new = USER not in datacentre.access.users
    for userid in (ROOT, USER):
        password = _password(datacentre.directory / "credentials" / f"{userid}.password")
        if userid not in datacentre.access.users:
            datacentre.access.add_user(userid)
        datacentre.access.set_password(userid, password)
    _add_token(datacentre)
    if is_new:
        _add_roles(datacentre)
    if datacentre.guests.find(datacentre.settings.template.vmid) is None:
        _add_template(datacentre, datacentre.settings.template)


def _password(path: Path) -> str:
    """Return the password in a file of mode 0600; made when the file is missing."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(18).encode() + b"\n")
    return path.read_text(encoding="utf-8").strip()


def _add_token(datacentre: Datacentre) -> None:
    path = datacentre.directory / "credentials" / f"{USER}!{TOKEN}.token"
    full_name = f"{USER}!{TOKEN}"
    if full_name in datacentre.access.tokens and path.exists():
        return
    if full_name in datacentre.access.tokens:
        datacentre.access.remove_token(USER, TOKEN)
    value = datacentre.access.add_token(USER, TOKEN, privsep=False, comment="Salt master of the lab")
    write_private(path, f"{full_name}={value}\n".encode())


def _add_roles(datacentre: Datacentre) -> None:
    """Give the product's user the least it needs, each right only where it needs it."""
    for name, privileges in SALTERN_ROLES.items():
        datacentre.access.set_role(name, list(privileges), new=name not in datacentre.access.roles)
    template = datacentre.settings.template
    grants = {"/": "SalternAudit", "/vms": "SalternMachine", f"/vms/{template.vmid}": "SalternTemplate"}
    grants[f"/sdn/zones/localnetwork/{template.bridge}"] = "SalternNetwork"
    for storage in datacentre.settings.storages:
        grants[f"/storage/{storage.name}"] = "SalternDisk" if "images" in storage.content else "SalternSeed"
    for path, role in grants.items():
        datacentre.access.change_rule(Rule(path, "user", USER, role, propagate=True), delete=False)


def _add_template(datacentre: Datacentre, template: Template) -> None:
    """Add the template: a disk, an empty CD drive, a card, the guest agent, and a boot order that names the disk."""
    storage = next(each.name for each in datacentre.settings.storages if "images" in each.content)
    base = f"{storage}:base-{template.vmid}-disk-0"
    datacentre.volumes.add_image(
        Volume(base, "images", "raw", template.disk_bytes, int(datacentre.clock()), template.vmid)
    )
    config = {
        "agent": "1",
        "boot": f"order={template.disk_device}",
        "cores": "2",
        "cpu": "x86-64-v2-AES",
        "ide2": "none,media=cdrom",
        "memory": "2048",
        "name": template.name,
        "net0": config_values.network_card(f"virtio,bridge={template.bridge}"),
        "numa": "0",
        "ostype": "l26",
        template.disk_device: f"{base},size={config_values.print_size(template.disk_bytes)}",
        "scsihw": "virtio-scsi-single",
        "serial0": "socket",
        "smbios1": config_values.new_smbios(),
        "sockets": "1",
        "template": "1",
        "vga": "serial0",
    }
    datacentre.guests.add(Guest(template.vmid, datacentre.settings.local_node.name, config))
