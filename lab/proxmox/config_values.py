"""The values of a VM's configuration: property strings, drives, network cards, tags, sizes."""

from __future__ import annotations

import ipaddress
import re
import secrets
import uuid
from dataclasses import dataclass
from urllib.parse import unquote

MAC_PREFIX = "BC:24:11"
CARD_MODELS = ("virtio", "e1000", "e1000e", "rtl8139", "vmxnet3", "ne2k_pci")
DISK_SLOT = re.compile(r"(ide[0-3]|sata[0-5]|scsi([0-9]|[12][0-9]|30)|virtio([0-9]|1[0-5]))")
_MAC = re.compile(r"[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}")
_CARD_KEYS = frozenset(("bridge", "firewall", "link_down", "mtu", "queues", "rate", "tag", "trunks"))
_DRIVE_KEYS = frozenset(
    [
        "aio",
        "backup",
        "bps",
        "cache",
        "cyls",
        "detect_zeroes",
        "discard",
        "file",
        "format",
        "heads",
        "import-from",
        "iops",
        "iothread",
        "media",
        "mbps_rd",
        "mbps_wr",
        "model",
        "product",
        "queues",
        "readonly",
        "replicate",
        "rerror",
        "ro",
        "scsiblock",
        "secs",
        "serial",
        "shared",
        "size",
        "snapshot",
        "ssd",
        "trans",
        "vendor",
        "werror",
        "wwn",
    ]
)
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def parse_properties(text: str, default_key: str) -> dict[str, str]:
    """Split ``value,key=value,..``; the first part without a key gets ``default_key``.

    Raises:
        ValueError: a part without key that is not the first, or a key given twice.
    """
    found: dict[str, str] = {}
    for position, part in enumerate(filter(None, text.split(","))):
        key, has_key, value = part.partition("=")
        if not has_key:
            if position:
                raise ValueError(
                    "invalid format - format error\nvalue without key, but schema does not define a default key"
                )
            key, value = default_key, part
        if key in found:
            raise ValueError(
                f"invalid format - format error\n{key}: duplicate key in comma-separated list property: {key}"
            )
        found[key] = value
    return found


def print_properties(properties: dict[str, str], first: str) -> str:
    """Join properties as Proxmox does: the value of ``first`` without its key, then the others sorted."""
    others = [f"{key}={value}" for key, value in sorted(properties.items()) if key != first]
    return ",".join([properties[first], *others] if first in properties else others)


def _unknown(key: str) -> ValueError:
    text = "property is not defined in schema and the schema does not allow additional properties"
    return ValueError(f"invalid format - format error\n{key}: {text}")


# -- network cards ----------------------------------------------------------------------------------------------------


def new_mac() -> str:
    """Return a random hardware address with Proxmox's prefix."""
    return ":".join([MAC_PREFIX, *(f"{byte:02X}" for byte in secrets.token_bytes(3))])


def network_card(text: str) -> str:
    """Check the value of a ``netN`` and return it as Proxmox keeps it: model and MAC first; a missing MAC is made.

    Raises:
        ValueError: unknown key or model, bad MAC, no bridge number.
    """
    properties = parse_properties(text, "model")
    model = properties.pop("model", None)
    mac = properties.pop("macaddr", None)
    for name in CARD_MODELS:
        if name in properties:
            model, mac = name, properties.pop(name)
    if model not in CARD_MODELS:
        raise ValueError("invalid format - format error\nmodel: property is missing and it is not optional")
    for key in properties:
        if key not in _CARD_KEYS:
            raise _unknown(key)
    if mac is not None and _MAC.fullmatch(mac) is None:
        complaint = "value does not look like a valid unicast MAC address"
        raise ValueError(f"invalid format - format error\nmacaddr: invalid format - {complaint}")
    return print_properties(properties | {"card": f"{model}={(mac or new_mac()).upper()}"}, "card")


def card_mac(text: str) -> str:
    """Return the hardware address in the kept value of a ``netN``."""
    return text.split(",")[0].partition("=")[2]


def with_new_mac(text: str) -> str:
    """Return the kept value of a ``netN`` with another hardware address: what a clone gets."""
    first, *others = text.split(",")
    return ",".join([f"{first.partition('=')[0]}={new_mac()}", *others])


def card_bridge(text: str) -> str:
    """Return the bridge in the value of a ``netN``; empty when it has none."""
    return parse_properties(text, "model").get("bridge", "")


# -- cloud-init -------------------------------------------------------------------------------------------------------


def ip_config(text: str) -> str:
    """Check the value of an ``ipconfigN``; raises ValueError with the key that is wrong."""
    for key, value in parse_properties(text, "ip").items():
        family = {"ip": 4, "gw": 4, "ip6": 6, "gw6": 6}.get(key)
        if family is None:
            raise _unknown(key)
        words = {"ip": ("dhcp",), "ip6": ("dhcp", "auto")}.get(key, ())
        if value not in words and not _is_address(value, family, with_prefix=not key.startswith("gw")):
            kind = "address" if key.startswith("gw") else "network configuration"
            complaint = f"value does not look like a valid ipv{family} {kind}"
            raise ValueError(f"invalid format - format error\n{key}: invalid format - {complaint}")
    return text


def _is_address(text: str, family: int, with_prefix: bool) -> bool:
    try:
        address = ipaddress.ip_interface(text) if with_prefix else ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.version == family and ("/" in text) == with_prefix


def ssh_keys(text: str) -> str:
    """Check the value of ``sshkeys``: percent-encoded lines; raises ValueError on anything raw in it."""
    if re.fullmatch(r"[-%a-zA-Z0-9_.!~*'()]*", text) is None:
        raise ValueError(f"invalid format - invalid urlencoded string: {text}")
    return text


def ssh_key_lines(value: str) -> tuple[str, ...]:
    """Return the public keys in a kept ``sshkeys`` value."""
    return tuple(line for line in unquote(value).splitlines() if line.strip())


# -- drives -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drive:
    """A drive: the volume (or ``none``, ``cdrom``) and its options."""

    volume: str
    options: dict[str, str]

    @property
    def is_cdrom(self) -> bool:
        """True for CD drives, the cloud-init drive among them."""
        return self.options.get("media") == "cdrom"

    @property
    def is_cloudinit(self) -> bool:
        """True for the drive that Proxmox builds itself."""
        return re.search(r":(vm-\d+-)?cloudinit$", self.volume) is not None

    @property
    def has_medium(self) -> bool:
        """True unless it is an empty CD drive."""
        return self.volume not in ("none", "cdrom")

    @property
    def storage(self) -> str:
        """Name of the storage of the volume; empty without one."""
        return self.volume.partition(":")[0] if self.has_medium else ""

    @property
    def size_bytes(self) -> int:
        """Size as the configuration says; 0 when it does not."""
        return parse_size(self.options.get("size", "0"))

    def replaced(self, **options: str) -> Drive:
        """Return the same drive with other options; ``volume`` replaces the volume."""
        volume = options.pop("volume", self.volume)
        return Drive(volume, self.options | options)

    def __str__(self) -> str:
        return print_properties(self.options | {"file": self.volume}, "file")


def parse_drive(text: str) -> Drive:
    """Parse the value of a drive option; raises ValueError."""
    options = parse_properties(text, "file")
    for key in options:
        if key not in _DRIVE_KEYS:
            raise _unknown(key)
    if "file" not in options:
        raise ValueError("invalid format - format error\nfile: property is missing and it is not optional")
    volume = options.pop("file")
    drive = Drive(volume, options)
    return drive.replaced(media="cdrom") if drive.is_cloudinit or volume == "cdrom" else drive


def drive(text: str) -> str:
    """Check the value of a drive option (rule of a Text)."""
    parse_drive(text)
    return text


def drives(config: dict[str, str]) -> dict[str, Drive]:
    """Return the drives of a configuration by slot, in the order of their names."""
    return {slot: parse_drive(config[slot]) for slot in sorted(config) if DISK_SLOT.fullmatch(slot)}


# -- the rest ---------------------------------------------------------------------------------------------------------


def parse_size(text: str) -> int:
    """Return the bytes of ``20G``, ``374K``, ``4096``; raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    if match is None:
        raise ValueError(f"invalid format - value '{text}' does not look like a valid disk size")
    return int(float(match[1]) * _UNITS[match[2]])


def print_size(size_bytes: int) -> str:
    """Return bytes with the largest unit that divides them: ``20G``, ``374K``."""
    unit = next((name for name in "TGMK" if size_bytes and size_bytes % _UNITS[name] == 0), "")
    return f"{size_bytes // _UNITS[unit]}{unit}"


def tags(text: str) -> str:
    """Check tags and return them as Proxmox keeps them: lower case, each once, sorted, joined by ``;``."""
    words = [word for word in re.split(r"[;,\s]+", text.lower()) if word]
    for word in words:
        if re.fullmatch(r"[a-z0-9_][a-z0-9_\-+.]*", word) is None:
            raise ValueError(f"invalid format - invalid characters in tag: {word}")
    return ";".join(sorted(set(words)))


def boot_devices(text: str) -> list[str]:
    """Return the devices of ``order=scsi0;ide2``; none for the old ``cdn`` form."""
    return [name for name in parse_properties(text, "legacy").get("order", "").split(";") if name]


def new_smbios() -> str:
    """Return a ``smbios1`` value with a new UUID."""
    return f"uuid={uuid.uuid4()}"


def agent_enabled(value: str | None) -> bool:
    """Say whether the ``agent`` option switches the guest agent on."""
    return value is not None and parse_properties(value, "enabled").get("enabled") == "1"
