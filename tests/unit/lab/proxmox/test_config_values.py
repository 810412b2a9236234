"""Values of a VM's configuration: text in, data out."""

from __future__ import annotations

import re

import pytest

from lab.proxmox import config_values
from lab.proxmox.config_values import Drive


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("virtio=bc:24:11:aa:bb:cc,bridge=vmbr0", "virtio=BC:24:11:AA:BB:CC,bridge=vmbr0"),
        (
            "tag=7,bridge=vmbr0,queues=4,mtu=1500,virtio=BC:24:11:AA:BB:CC",
            "virtio=BC:24:11:AA:BB:CC,bridge=vmbr0,mtu=1500,queues=4,tag=7",
        ),
        ("model=e1000,macaddr=BC:24:11:AA:BB:CC,firewall=1", "e1000=BC:24:11:AA:BB:CC,firewall=1"),
    ],
)
def test_network_card_is_kept_in_one_order(given: str, kept: str) -> None:
    assert config_values.network_card(given) == kept


def test_missing_mac_is_made_anew_each_time() -> None:
    made = {config_values.network_card("virtio,bridge=vmbr0") for _ in range(5)}
    assert len(made) == 5
    assert all(re.fullmatch(r"virtio=BC:24:11(:[0-9A-F]{2}){3},bridge=vmbr0", each) for each in made)


def test_clone_keeps_all_of_a_card_but_its_mac() -> None:
    old = "virtio=BC:24:11:AA:BB:CC,bridge=vmbr0,tag=7"
    new = config_values.with_new_mac(old)
    assert new.split(",")[1:] == old.split(",")[1:]
    assert config_values.card_mac(new) != config_values.card_mac(old)


@pytest.mark.parametrize(
    "text", ["bridge=vmbr0", "virtio=1:2", "virtio,colour=red", "virtio,bridge=a,bridge=b", "virtio,vmbr0"]
)
def test_bad_network_cards(text: str) -> None:
    with pytest.raises(ValueError, match="invalid format - format error"):
        config_values.network_card(text)


@pytest.mark.parametrize(
    "text", ["ip=10.0.0.5/24,gw=10.0.0.1", "ip=dhcp", "ip6=auto", "ip6=fd00::5/64,gw6=fd00::1", "ip=dhcp,ip6=dhcp"]
)
def test_good_addresses(text: str) -> None:
    assert config_values.ip_config(text) == text


@pytest.mark.parametrize(
    ("text", "key"),
    [("ip=10.0.0.5", "ip"), ("ip=auto", "ip"), ("gw=10.0.0.1/24", "gw"), ("ip6=10.0.0.5/24", "ip6"), ("mac=1", "mac")],
)
def test_bad_addresses_name_their_key(text: str, key: str) -> None:
    with pytest.raises(ValueError, match=f"format error\n{key}: "):
        config_values.ip_config(text)


def test_drives() -> None:
    disk = config_values.parse_drive("local-lvm:vm-101-disk-0,size=20G,ssd=1")
    assert (disk.storage, disk.size_bytes, disk.is_cdrom) == ("local-lvm", 20 * 1024**3, False)
    assert str(disk.replaced(size="40G", volume="a:b")) == "a:b,size=40G,ssd=1"
    image = config_values.parse_drive("local:iso/x.iso,media=cdrom")
    assert (image.is_cdrom, image.is_cloudinit, image.has_medium) == (True, False, True)
    empty = config_values.parse_drive("none,media=cdrom")
    assert (empty.has_medium, empty.storage, str(empty)) == (False, "", "none,media=cdrom")
    for text in ("local-lvm:cloudinit", "local-lvm:vm-101-cloudinit,media=cdrom"):
        assert config_values.parse_drive(text).is_cloudinit and config_values.parse_drive(text).is_cdrom


def test_drives_of_a_configuration_are_in_order_and_nothing_else() -> None:
    config = {
        "scsi0": "a:b",
        "ide2": "none,media=cdrom",
        "scsihw": "lsi",
        "net0": "virtio",
        "unused0": "a:c",
        "scsi31": "a:d",
    }
    assert config_values.drives(config) == {"ide2": Drive("none", {"media": "cdrom"}), "scsi0": Drive("a:b", {})}


def test_unknown_drive_option() -> None:
    with pytest.raises(ValueError, match="colour: property is not defined"):
        config_values.parse_drive("a:b,colour=red")


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(20 * 1024**3, "20G"), (374 * 1024, "374K"), (5, "5"), (1536 * 1024**2, "1536M")]
)
def test_sizes_both_ways(size_bytes: int, text: str) -> None:
    assert config_values.print_size(size_bytes) == text
    assert config_values.parse_size(text) == size_bytes


def test_tags_are_lower_case_unique_and_sorted() -> None:
    assert config_values.tags("Worker;saltern,worker;ip_net0_10.0.0.5") == "ip_net0_10.0.0.5;saltern;worker"


def test_boot_devices() -> None:
    assert config_values.boot_devices("order=scsi0;ide2;net0") == ["scsi0", "ide2", "net0"]
    assert config_values.boot_devices("cdn") == []


@pytest.mark.parametrize(
    ("value", "enabled"), [(None, False), ("0", False), ("1", True), ("enabled=1,type=virtio", True)]
)
def test_agent(value: str | None, enabled: bool) -> None:
    assert config_values.agent_enabled(value) is enabled


def test_ssh_keys_are_lines() -> None:
    assert config_values.ssh_key_lines("ssh-ed25519%20AA%2BA%20me%0A%0Assh-rsa%20B") == (
        "ssh-ed25519 AA+A me",
        "ssh-rsa B",
    )
