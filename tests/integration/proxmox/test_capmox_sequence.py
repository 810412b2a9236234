"""The calls of the Cluster API provider (JSON bodies, API token), in its order."""

from __future__ import annotations

from lab.proxmox.settings import GIB, Node, Settings, Storage
from tests.integration.proxmox.conftest import IMPATIENT, QUICK, Answer, Client, Lab, Runner
from tests.integration.proxmox.test_driver_sequence import seed_iso

# Its machines go to any node, so the disks are on a shared storage.
SETTINGS = Settings(
    nodes=(Node("pve1", "127.0.0.1"), Node("pve2", "127.0.0.2")),
    storages=(
        Storage("local", "dir", ("iso", "vztmpl", "import"), 100 * GIB),
        Storage("ceph", "rbd", ("images",), 500 * GIB, shared=True),
    ),
    durations=QUICK,
    limits=IMPATIENT,
)


def capmox(lab: Lab) -> Client:
    root = lab.root
    value = root.post("/access/users/root@pam/token/capi", privsep=0).data["value"]
    return lab.client(Authorization=f"PVEAPIToken=root@pam!capi={value}")


def upload(client: Client, node: str, name: str, content: bytes) -> Answer:
    """Upload as go-proxmox does: the plain field first, then the file part."""
    boundary = "0123456789abcdef"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="content"\r\n\r\niso\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="filename"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return client.send("POST", f"/nodes/{node}/storage/local/upload", body, **kind)


def test_the_whole_life_of_a_machine(runner: Runner) -> None:
    lab = runner.start(SETTINGS)
    client = capmox(lab)

    # 1: where could it go?
    assert client.get("/version").data["version"] == "9.1.6"
    for node in ("pve1", "pve2"):
        assert all(isinstance(load, str) for load in client.get(f"/nodes/{node}/status").data["loadavg"])
        assert client.get(f"/nodes/{node}/lxc").data == []
    assert [row["vmid"] for row in client.get("/nodes/pve1/qemu").data] == [9000]

    # 2: clone to another node
    template = client.get("/nodes/pve1/qemu/9000/config").data
    assert client.get("/nodes/pve1/qemu/9000/status/current").data["template"] == 1
    assert [row["level"] for row in client.get("/cluster/status").data if row["type"] == "node"] == ["", ""]
    assert client.get("/cluster/nextid").data == "100"
    body = {"newid": 101, "name": "m1", "full": 1, "target": "pve2"}
    assert client.task(client.json("POST", "/nodes/pve1/qemu/9000/clone", body)) == "OK"
    vm = "/nodes/pve2/qemu/101"

    # 3: configure what differs
    config = client.get(f"{vm}/config").data
    assert config["name"] == "m1"
    assert config["smbios1"].startswith("uuid=") and config["smbios1"] != template["smbios1"]
    changes = {"cores": 4, "memory": 8192, "net0": "virtio,bridge=vmbr0"}
    assert client.task(client.json("POST", f"{vm}/config", changes)) == "OK"
    assert client.json("PUT", f"{vm}/resize", {"disk": "scsi0", "size": "40G"}).data.startswith("UPID:")
    assert client.task(client.json("POST", f"{vm}/config", {"tags": "ip_net0_10.0.0.5"})) == "OK"
    mac, _, bridge = client.get(f"{vm}/config").data["net0"].removeprefix("virtio=").partition(",")
    assert mac.startswith("BC:24:11:") and bridge == "bridge=vmbr0"

    # 4: the seed; tags and drive are written right after each other and queue
    storages = client.get("/nodes/pve2/storage").data
    assert next(row["storage"] for row in storages if "iso" in row["content"].split(",") and row["enabled"]) == "local"
    sent = upload(client, "pve2", "user-data-101.iso", seed_iso("#cloud-config\n").getvalue())
    assert sent.data.split(":")[1] == "pve1", "the task is the contacted node's"
    assert client.task(sent) == "OK"
    first = client.json("POST", f"{vm}/config", {"tags": "ip_net0_10.0.0.5;go-proxmox+cloud-init"})
    drive = {"ide0": "local:iso/user-data-101.iso,media=cdrom", "boot": "order=scsi0;ide0"}
    second = client.json("POST", f"{vm}/config", drive)
    assert (client.task(first), client.task(second)) == ("OK", "OK")
    assert client.get(f"{vm}/config").data["tags"] == "go-proxmox+cloud-init;ip_net0_10.0.0.5"

    # 5: start, then ask the agent
    lab.machines.boots = False
    assert client.task(client.json("POST", f"{vm}/status/start", {})) == "OK"
    waiting = client.get(f"{vm}/agent/get-osinfo")
    assert f"{waiting.status} {waiting.reason}" == "500 QEMU guest agent is not running"
    lab.machines.booted.add(101)
    assert client.get(f"{vm}/agent/get-osinfo").data["result"]["id"] == "debian"
    body = {"command": ["cloud-init", "status"], "input-data": ""}
    pid = client.json("POST", f"{vm}/agent/exec", body).data["pid"]
    lab.datacentre.agents._commands[101, pid].ended.wait(10)
    status = client.get(f"{vm}/agent/exec-status", pid=pid).data
    assert (status["exited"], status["exitcode"], status["err-data"]) == (1, 127, "cloud-init: not found\n")
    assert lab.machines.seeds[101] == {"user-data": "#cloud-config\n"}

    # 6: eject the seed while it runs
    assert client.task(client.json("POST", f"{vm}/config", {"ide0": "none,media=cdrom"})) == "OK"
    assert client.get(f"{vm}/config", current=1).data["ide0"] == "none,media=cdrom"
    assert client.get("/nodes/pve2/storage/local/content/local%3Aiso%2Fuser-data-101.iso").data["format"] == "iso"
    gone = client.delete("/nodes/pve2/storage/local/content/local%3Aiso%2Fuser-data-101.iso")
    assert client.task(gone) == "OK"

    # 7: delete; the stop is not awaited, so the first delete may meet a running machine
    taken = client.get("/cluster/nextid", vmid=101)
    assert (taken.status, taken.json["errors"]) == (400, {"vmid": "VM 101 already exists"})
    early = client.delete(vm)
    assert (early.status, early.reason) == (500, "VM 101 is running - destroy failed")
    client.end(client.json("POST", f"{vm}/status/stop", {}).data)
    assert client.task(client.delete(vm)) == "OK"
    assert client.get("/cluster/nextid", vmid=101).data == "101"
    assert client.get(f"{vm}/status/current").reason.endswith("does not exist")


def test_boot_order_of_the_template_can_be_extended(runner: Runner) -> None:
    assert capmox(runner.start(SETTINGS)).get("/nodes/pve1/qemu/9000/config").data["boot"] == "order=scsi0"
