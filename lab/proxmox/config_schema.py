"""The options of a VM: what each may be, what it needs, and whether a running VM takes it at once."""

from __future__ import annotations

import re

from lab.proxmox import config_values
from lab.proxmox.schema import Boolean, Integer, Kind, Number, Text, dns_name, matching

# The file is named by a clone or its machine only; nobody sets these by a configuration call.
_BOOLEAN = [
    "acpi",
    "autostart",
    "ciupgrade",
    "freeze",
    "keephugepages",
    "kvm",
    "localtime",
    "numa",
    "onboot",
    "protection",
    "reboot",
    "tablet",
    "tdf",
    "template",
]
_OS = ("other", "wxp", "w2k", "w2k3", "w2k8", "wvista", "win7", "win8", "win10", "win11", "l24", "l26", "solaris")
_LOCKS = ("backup", "clone", "create", "migrate", "rollback", "snapshot", "snapshot-delete", "suspending", "suspended")
_TEXT = [
    "affinity",
    "args",
    "audio0",
    "bios",
    "boot",
    "bootdisk",
    "cdrom",
    "cicustom",
    "cipassword",
    "citype",
    "ciuser",
    "cpu",
    "description",
    "efidisk0",
    "hookscript",
    "hotplug",
    "hugepages",
    "keyboard",
    "machine",
    "meta",
    "migrate_downtime",
    "nameserver",
    "rng0",
    "scsihw",
    "searchdomain",
    "smbios1",
    "spice_enhancements",
    "startdate",
    "startup",
    "tpmstate0",
    "vga",
    "vmgenid",
    "vmstatestorage",
    "watchdog",
]

OPTIONS: dict[str, Kind] = {
    **{name: Boolean() for name in _BOOLEAN},
    **{name: Text() for name in _TEXT},
    "agent": Text(rule=lambda text: _agent(text)),
    "balloon": Integer(least=0),
    "cores": Integer(least=1),
    "cpulimit": Number(),
    "cpuunits": Integer(least=1, most=262144),
    "lock": Text(choices=_LOCKS),
    "memory": Text(
        rule=matching(r"(current=)?\d+", "invalid format - format error\ncurrent: type check ('integer') failed")
    ),
    "name": Text(rule=dns_name),
    "ostype": Text(choices=_OS),
    "shares": Integer(least=0, most=50000),
    "sockets": Integer(least=1),
    "sshkeys": Text(rule=config_values.ssh_keys),
    "tags": Text(rule=config_values.tags),
    "vcpus": Integer(least=1),
    **{f"net{number}": Text(rule=config_values.network_card) for number in range(32)},
    **{f"ipconfig{number}": Text(rule=config_values.ip_config) for number in range(32)},
    **{f"ide{number}": Text(rule=config_values.drive) for number in range(4)},
    **{f"sata{number}": Text(rule=config_values.drive) for number in range(6)},
    **{f"scsi{number}": Text(rule=config_values.drive) for number in range(31)},
    **{f"virtio{number}": Text(rule=config_values.drive) for number in range(16)},
    **{f"unused{number}": Text(rule=config_values.drive) for number in range(256)},
    **{f"serial{number}": Text() for number in range(4)},
    **{f"usb{number}": Text() for number in range(14)},
    **{f"hostpci{number}": Text() for number in range(16)},
    **{f"numa{number}": Text() for number in range(8)},
    **{f"parallel{number}": Text() for number in range(3)},
}

_CPU = frozenset(["cores", "sockets", "cpu", "vcpus", "cpulimit", "cpuunits", "numa", "affinity"])
_MEMORY = frozenset(["memory", "balloon", "shares", "hugepages", "keephugepages"])
_HARDWARE = frozenset(
    [
        "acpi",
        "audio0",
        "hotplug",
        "kvm",
        "machine",
        "rng0",
        "scsihw",
        "smbios1",
        "tablet",
        "vga",
        "watchdog",
        "bios",
        "efidisk0",
        "tpmstate0",
        "vmgenid",
    ]
)
_CLOUDINIT = frozenset(
    ["cicustom", "cipassword", "citype", "ciuser", "ciupgrade", "nameserver", "searchdomain", "sshkeys"]
)
_ROOT_ONLY = frozenset(["args", "hookscript"])
# Taken by a running VM at once (Proxmox's "fast plug" and the cloud-init options); all else waits for stop and start.
_AT_ONCE = frozenset(
    [
        "autostart",
        "boot",
        "bootdisk",
        "description",
        "lock",
        "name",
        "onboot",
        "protection",
        "startup",
        "tags",
        "vmstatestorage",
        "hotplug",
    ]
)


def _agent(text: str) -> str:
    enabled = config_values.parse_properties(text, "enabled").get("enabled", "")
    if enabled not in ("0", "1"):
        raise ValueError(f"invalid format - format error\nenabled: type check ('boolean') failed - got '{enabled}'")
    return text


def is_number(option: str) -> bool:
    """Say whether JSON shows an option as a number; all others are strings, ``memory`` and ``agent`` too."""
    return isinstance(OPTIONS.get(option), (Boolean, Integer, Number))


def is_drive(option: str) -> bool:
    """Say whether an option is a disk or CD drive."""
    return config_values.DISK_SLOT.fullmatch(option) is not None


def is_cloudinit(option: str) -> bool:
    """Say whether an option feeds the cloud-init drive."""
    return option in _CLOUDINIT or re.fullmatch(r"ipconfig\d+", option) is not None


def is_root_only(option: str) -> bool:
    """Say whether only root@pam may set an option."""
    return option in _ROOT_ONLY or option.startswith("hostpci")


def takes_effect_at_once(option: str) -> bool:
    """Say whether a running VM takes a change without stop and start; drives are decided where they are changed."""
    return option in _AT_ONCE or is_cloudinit(option) or option.startswith("unused")


def privileges(option: str, value: str | None) -> tuple[str, ...]:
    """Return the privileges on the VM of which one is needed to change an option.

    Args:
        option: its name.
        value: the new value, or the old one when it is deleted: a drive needs another privilege when it is a CD drive.
    """
    if option in _CPU:
        return ("VM.Config.CPU",)
    if option in _MEMORY:
        return ("VM.Config.Memory",)
    if is_cloudinit(option):
        return ("VM.Config.Cloudinit", "VM.Config.Network")
    if re.fullmatch(r"net\d+", option):
        return ("VM.Config.Network",)
    if is_drive(option):
        cdrom = value is not None and config_values.parse_drive(value).is_cdrom
        return ("VM.Config.CDROM",) if cdrom else ("VM.Config.Disk",)
    if option in ("boot", "bootdisk") or option.startswith("unused"):
        return ("VM.Config.Disk",)
    if option in _HARDWARE or re.fullmatch(r"(serial|usb|numa|parallel)\d+", option):
        return ("VM.Config.HWType",)
    return ("VM.Config.Options",)
