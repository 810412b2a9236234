"""The settings file, the command line's machines, and the description of the calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.proxmox import app, cloudinit, settings
from lab.proxmox.__main__ import machines, main
from lab.proxmox.config_schema import OPTIONS, is_number, privileges, takes_effect_at_once
from lab.proxmox.tickets import Tickets


def test_defaults_without_a_file() -> None:
    assert settings.load(None).template.name == "debian-12-saltern"


def test_sections_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(
        '{"nodes": [{"name": "a"}, {"name": "b", "cpus": 4}], "template": {"vmid": 9001}, "durations": {"start_s": 2},'
        ' "storages": [{"name": "s", "kind": "dir", "content": ["iso"], "capacity_bytes": 5}], "version": "8.4.1"}'
    )
    loaded = settings.load(path)
    assert [node.name for node in loaded.nodes] == ["a", "b"] and loaded.local_node.name == "a"
    assert (loaded.template.vmid, loaded.template.name) == (9001, "debian-12-saltern")
    assert (loaded.durations.start_s, loaded.storages[0].content, loaded.version) == (2, ("iso",), "8.4.1")


@pytest.mark.parametrize("text", ["{", '{"colour": 1}', '{"limits": {"colour": 1}}', '{"nodes": [{"cpus": 1}]}'])
def test_bad_settings_name_their_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text)
    with pytest.raises(settings.SettingsError, match=r"settings\.json"):
        settings.load(path)


def test_machines_by_their_dotted_path() -> None:
    found = machines("tests.integration.proxmox.fake_machines:FakeMachines")
    assert found.template_ids() == [9000]


@pytest.mark.parametrize("path", ["nowhere:Thing", "lab.proxmox.machines:Thing", "lab.proxmox.machines"])
def test_machines_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str) -> None:
    assert main(["--state", str(tmp_path / "s"), "--machines", path]) == 1
    assert f"lab.proxmox: --machines {path}: " in capsys.readouterr().err


def test_every_call_is_described_once() -> None:
    def calls(node: dict[str, object]) -> list[str]:
        own = [f"{method} {node['path']}" for method in node.get("info", {})]  # type: ignore[attr-defined]
        return own + [each for child in node.get("children", []) for each in calls(child)]  # type: ignore[attr-defined]

    found = [each for node in app.description() for each in calls(node)]
    assert len(found) == len(set(found)) > 80
    assert "POST /nodes/{node}/qemu/{vmid}/agent/exec" in found


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("cores", "1", "VM.Config.CPU"),
        ("ide2", "none,media=cdrom", "VM.Config.CDROM"),
        ("ide2", "a:b", "VM.Config.Disk"),
        ("ide2", None, "VM.Config.Disk"),
        ("boot", "order=scsi0", "VM.Config.Disk"),
        ("net31", "virtio", "VM.Config.Network"),
        ("ipconfig0", "ip=dhcp", "VM.Config.Cloudinit"),
        ("serial0", "socket", "VM.Config.HWType"),
        ("tags", "a", "VM.Config.Options"),
    ],
)
def test_privilege_of_an_option(option: str, value: str | None, wanted: str) -> None:
    assert option in OPTIONS and privileges(option, value)[0] == wanted


def test_kinds_of_options() -> None:
    assert [is_number(name) for name in ("cores", "onboot", "cpulimit", "memory", "agent")] == [True] * 3 + [False] * 2
    assert [takes_effect_at_once(name) for name in ("tags", "ciuser", "ipconfig3", "cores", "net0")] == [True] * 3 + [
        False
    ] * 2


def test_seed_of_two_cards_and_name_servers() -> None:
    config = {
        "name": "w1.lab.test",
        "net0": "virtio=BC:24:11:00:00:01,bridge=a",
        "net1": "virtio=BC:24:11:00:00:02,bridge=b",
        "net10": "virtio=BC:24:11:00:00:03,bridge=c",
        "ipconfig0": "ip=10.0.0.5/24,gw=10.0.0.1,ip6=auto",
        "ipconfig1": "ip=dhcp,ip6=dhcp",
        "nameserver": "10.0.0.1 10.0.0.2",
        "searchdomain": "lab.test",
    }
    text = cloudinit.network_config(config)
    assert cloudinit.yaml.safe_load(text) == {
        "version": 1,
        "config": [
            {
                "type": "physical",
                "name": "eth0",
                "mac_address": "bc:24:11:00:00:01",
                "subnets": [
                    {"type": "static", "address": "10.0.0.5/24", "gateway": "10.0.0.1"},
                    {"type": "ipv6_slaac"},
                ],
            },
            {
                "type": "physical",
                "name": "eth1",
                "mac_address": "bc:24:11:00:00:02",
                "subnets": [{"type": "dhcp4"}, {"type": "dhcp6"}],
            },
            {"type": "nameserver", "address": ["10.0.0.1", "10.0.0.2"], "search": ["lab.test"]},
        ],
    }
    user = cloudinit.yaml.safe_load(cloudinit.user_data(config, 101))
    assert (user["hostname"], user["fqdn"], user["package_upgrade"]) == ("w1", "w1.lab.test", True)
    assert list(cloudinit.cards(config)) == [0, 1, 10]


def test_tickets_from_the_future_are_no_good() -> None:
    now = 1_700_000_000.0
    ahead = Tickets(b"key", 7200, lambda: now + 3600)
    ticket, csrf_token = ahead.issue("u@pve")
    here = Tickets(b"key", 7200, lambda: now)
    assert here.user_of(ticket) is None and not here.csrf_is_good("u@pve", csrf_token)
    assert ahead.user_of(ticket) == "u@pve" and ahead.csrf_is_good("u@pve", csrf_token)
    assert Tickets(b"other", 7200, lambda: now + 3600).user_of(ticket) is None
    assert ahead.user_of("PVE:u@pve:ZZ::x") is None
