"""The calls of a driver that makes and removes a machine, by proxmoxer, with password and with token."""

from __future__ import annotations

import io
import time
from typing import Any
from urllib.parse import quote

import pycdlib
import pytest
from proxmoxer import AuthenticationError, ProxmoxAPI, ResourceException

from tests.integration.proxmox.conftest import PHRASE, Lab

KEYS = "ssh-ed25519 AAAAC3Nza+/x= operator@site\nssh-ed25519 AAAAC3Nzb other\n"


def seed_iso(user_data: str) -> io.BytesIO:
    """Return an ISO image labelled cidata with a user-data file, named as proxmoxer takes the name of an upload."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="cidata")
    content = user_data.encode()
    iso.add_fp(io.BytesIO(content), len(content), "/USERDATA.;1", rr_name="user-data", joliet_path="/user-data")
    image = io.BytesIO()
    iso.write_fp(image)
    iso.close()
    image.seek(0)
    image.name = "w1-seed.iso"
    return image


def ended(api: ProxmoxAPI, upid: str) -> str:
    """Wait for a task and return its exit status."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        status = api.nodes("pve").tasks(upid).status.get()
        if status["status"] == "stopped":
            return str(status["exitstatus"])
    raise AssertionError(f"{upid} still runs")


def login(lab: Lab, how: str) -> ProxmoxAPI:
    if how == "password":
        return lab.proxmoxer(user="root@pam", password=lab.password)
    full_name, _, value = lab.token.partition("=")
    user, _, name = full_name.partition("!")
    return lab.proxmoxer(user=user, token_name=name, token_value=value)


@pytest.mark.parametrize("how", ["password", "token"])
def test_make_and_remove_a_machine(lab: Lab, how: str) -> None:
    api = login(lab, how)
    node = api.nodes("pve")
    assert api.cluster.nextid.get() == "100"
    assert ended(api, node.qemu(9000).clone.post(newid=101, name="w1", full=0)) == "OK"
    vm = node.qemu(101)
    wanted: dict[str, Any] = {
        "cores": 4,
        "memory": 8192,
        "net0": "virtio,bridge=vmbr0",
        "ipconfig0": "ip=10.0.0.5/24,gw=10.0.0.1",
        "ciuser": "k8s",
        "sshkeys": quote(KEYS, safe=""),
        "ciupgrade": 0,
        "agent": 1,
        "tags": "Saltern;worker",
        "onboot": 1,
    }
    assert ended(api, vm.config.post(**wanted)) == "OK"
    config = vm.config.get()
    assert config["sshkeys"] == quote(KEYS, safe="")
    assert (config["tags"], config["memory"], config["cores"]) == ("saltern;worker", "8192", 4)
    assert ended(api, vm.resize.put(disk="scsi0", size="20G")) == "OK"
    assert vm.config.get()["scsi0"] == "local-lvm:vm-101-disk-0,size=20G"

    upload = node.storage("local").upload.post(content="iso", filename=seed_iso("#cloud-config\nhostname: w1\n"))
    assert ended(api, upload) == "OK"
    assert ended(api, vm.config.post(ide3="local:iso/w1-seed.iso,media=cdrom")) == "OK"
    assert ended(api, vm.status.start.post()) == "OK"
    started = lab.machines.started[101]
    assert (started.name, started.cores, started.memory_mib) == ("w1", 4, 8192)
    assert started.ipconfig == {0: "ip=10.0.0.5/24,gw=10.0.0.1"}
    assert started.sshkeys == tuple(KEYS.splitlines())
    assert (started.ciuser, started.has_cloudinit_drive) == ("k8s", False)
    assert [path.name for path in started.iso_paths] == ["w1-seed.iso"]
    assert lab.machines.seeds[101] == {"user-data": "#cloud-config\nhostname: w1\n"}
    assert lab.machines.disks[101, "scsi0"] == 20 * 1024**3

    interfaces = vm.agent("network-get-interfaces").get()["result"]
    assert interfaces[1]["ip-addresses"][0] == {
        "ip-address": "192.168.100.151",
        "ip-address-type": "ipv4",
        "prefix": 24,
    }
    assert interfaces[1]["hardware-address"].upper() in config["net0"]

    assert ended(api, vm.config.post(ide3="none,media=cdrom")) == "OK"
    assert ended(api, node.storage("local").content("iso/w1-seed.iso").delete()) == "OK"
    assert node.storage("local").content.get(content="iso") == []
    assert ended(api, vm.status.stop.post()) == "OK"
    assert ended(api, vm.delete(purge=1, **{"destroy-unreferenced-disks": 1})) == "OK"
    assert [guest["vmid"] for guest in node.qemu.get()] == [9000]
    assert [volume["volid"] for volume in node.storage("local-lvm").content.get()] == ["local-lvm:base-9000-disk-0"]
    assert lab.machines.machines == {9000}


def test_template_is_known_by_its_name_and_flag(lab: Lab) -> None:
    api = login(lab, "token")
    templates = [guest for guest in api.nodes("pve").qemu.get() if guest.get("template")]
    assert [(guest["vmid"], guest["name"]) for guest in templates] == [(9000, "debian-12-saltern")]


def test_boolean_of_python_is_refused(lab: Lab) -> None:
    with pytest.raises(ResourceException) as caught:
        login(lab, "token").nodes("pve").qemu(9000).clone.post(newid=101, full=False)
    assert (caught.value.status_code, caught.value.errors) == (
        400,
        {"full": "type check ('boolean') failed - got 'False'"},
    )


def test_error_text_reaches_proxmoxer(lab: Lab) -> None:
    with pytest.raises(ResourceException) as caught:
        login(lab, "token").nodes("pve").qemu(4711).status.current.get()
    assert caught.value.content == "Configuration file 'nodes/pve/qemu-server/4711.conf' does not exist"


def test_wrong_password(lab: Lab) -> None:
    with pytest.raises(AuthenticationError):
        lab.proxmoxer(user="root@pam", password=PHRASE)


def test_proxmoxer_renews_its_ticket(lab: Lab) -> None:
    api = login(lab, "password")
    auth = api._backend.auth
    old = auth.pve_auth_ticket
    auth.birth_time -= 3601
    lab.clock.ahead_s = 3601
    assert api.version.get()["release"] == "9.1"
    assert auth.pve_auth_ticket != old


def test_agent_command_of_proxmoxer_is_split_into_words(lab: Lab) -> None:
    client = lab.vm()
    client.task(client.post("/nodes/pve/qemu/101/status/start"))
    # The product's own user may not: running commands in machines is no part of its work.
    with pytest.raises(ResourceException, match=r"Permission check failed \(/vms/101, VM.GuestAgent.Unrestricted\)"):
        login(lab, "token").nodes("pve").qemu(101).agent("exec").post(command="true")
    agent = login(lab, "password").nodes("pve").qemu(101).agent
    pid = agent("exec").post(command="tee /dev/null", **{"input-data": "hello"})["pid"]
    lab.datacentre.agents._commands[101, pid].ended.wait(10)
    assert agent("exec-status").get(pid=pid) == {"exited": 1, "exitcode": 0, "out-data": "hello"}
