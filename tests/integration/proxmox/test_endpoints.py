"""The calls that no sequence above makes: each once, with what it answers and refuses."""

from __future__ import annotations

from lab.proxmox.settings import GIB, Node, Settings, Storage
from tests.integration.proxmox.conftest import IMPATIENT, PHRASE, QUICK, Lab, Runner
from tests.integration.proxmox.test_capmox_sequence import upload

TEMPLATE = "/nodes/pve/qemu/9000"
VM = "/nodes/pve/qemu/101"
TWO_STORAGES = Settings(
    nodes=(Node("pve", "127.0.0.1"), Node("pve2", "127.0.0.2")),
    storages=(
        Storage("local", "dir", ("iso", "vztmpl", "import"), 100 * GIB),
        Storage("local-lvm", "lvmthin", ("images",), 100 * GIB),
        Storage("fast", "lvmthin", ("images",), 100 * GIB),
    ),
    durations=QUICK,
    limits=IMPATIENT,
)


def test_pending_values_wait_for_stop_and_start(lab: Lab) -> None:
    client = lab.vm(cores=2)
    client.task(client.post(f"{VM}/status/start"))
    client.put(f"{VM}/config", cores=4, tags="now", delete="vga")
    assert client.get(f"{VM}/config").data["cores"] == 4
    assert client.get(f"{VM}/config", current=1).data["cores"] == 2
    rows = {row["key"]: row for row in client.get(f"{VM}/pending").data}
    assert rows["cores"] == {"key": "cores", "value": 2, "pending": 4}
    assert rows["vga"] == {"key": "vga", "value": "serial0", "delete": 1}
    assert rows["tags"] == {"key": "tags", "value": "now"}
    client.task(client.post(f"{VM}/status/reset"))
    assert client.get(f"{VM}/config", current=1).data["cores"] == 2, "a reset changes nothing"
    client.task(client.post(f"{VM}/status/reboot"))
    assert client.get(f"{VM}/config", current=1).data["cores"] == 4
    assert "vga" not in client.get(f"{VM}/config").data
    assert lab.machines.started[101].cores == 4


def test_revert_takes_a_pending_value_back(lab: Lab) -> None:
    client = lab.vm(cores=2)
    client.task(client.post(f"{VM}/status/start"))
    client.put(f"{VM}/config", cores=4)
    client.put(f"{VM}/config", revert="cores")
    assert client.get(f"{VM}/config").data["cores"] == 2


def test_delete_of_options(lab: Lab) -> None:
    client = lab.vm(tags="a")
    assert client.put(f"{VM}/config", delete="tags,vga").data is None
    assert not {"tags", "vga"} & set(client.get(f"{VM}/config").data)
    assert client.put(f"{VM}/config", delete="colour").json["errors"] == {"delete": "unknown option 'colour'"}
    both = client.put(f"{VM}/config", delete="cores", cores=1)
    assert both.json["errors"] == {"delete": "you can't use '-cores' and -delete cores' at the same time"}
    assert client.put(f"{VM}/config").reason == "no options specified"


def test_disks_come_and_go(lab: Lab) -> None:
    client = lab.vm()
    client.put(f"{VM}/config", scsi1="local-lvm:8")
    assert client.get(f"{VM}/config").data["scsi1"] == "local-lvm:vm-101-disk-1,size=8G"
    client.put(f"{VM}/config", delete="scsi1")
    assert client.get(f"{VM}/config").data["unused0"] == "local-lvm:vm-101-disk-1"
    client.put(f"{VM}/config", delete="unused0")
    volumes = [row["volid"] for row in client.get("/nodes/pve/storage/local-lvm/content", vmid=101).data]
    assert volumes == ["local-lvm:vm-101-disk-0"]


def test_new_cdrom_is_appended_to_the_boot_order(lab: Lab) -> None:
    client = lab.vm()
    client.task(upload(client, "pve", "a.iso", b"image"))
    client.put(f"{VM}/config", ide0="local:iso/a.iso,media=cdrom")
    config = client.get(f"{VM}/config").data
    assert (config["boot"], config["ide0"]) == ("order=scsi0;ide0", "local:iso/a.iso,media=cdrom,size=5")


def test_password_is_never_shown(lab: Lab) -> None:
    client = lab.vm()
    upid = client.post(f"{VM}/config", cipassword="geheim-1").data
    client.end(upid)
    shown = client.get(f"{VM}/config").body + client.get(f"/nodes/pve/tasks/{upid}/log").body
    assert b"geheim-1" not in shown
    assert client.get(f"{VM}/config").data["cipassword"] == "**********"


def test_full_clone_of_a_vm_takes_space_and_a_storage(runner: Runner) -> None:
    lab = runner.start(TWO_STORAGES)
    client = lab.vm()
    assert client.task(client.post(f"{VM}/clone", newid=102, storage="fast", description="copy")) == "OK"
    config = client.get("/nodes/pve/qemu/102/config").data
    assert (config["scsi0"], config["description"]) == ("fast:vm-102-disk-0,size=4G", "copy")
    assert config["name"] == "Copy-of-VM-w1"
    assert client.get("/nodes/pve/storage/fast/status").data["used"] == 4 * GIB
    assert ("clone", 101, 102, True) in lab.machines.calls


def test_template_of_a_vm(lab: Lab) -> None:
    client = lab.vm()
    assert client.task(client.post(f"{VM}/template")) == "OK"
    config = client.get(f"{VM}/config").data
    assert (config["template"], config["scsi0"]) == (1, "local-lvm:base-101-disk-0,size=4G")
    assert client.post(f"{VM}/template").reason == "you can't convert a template to a template"


def test_move_disk_keeps_the_source_unless_told(runner: Runner) -> None:
    client = runner.start(TWO_STORAGES).vm()
    assert client.task(client.post(f"{VM}/move_disk", disk="scsi0", storage="fast")) == "OK"
    config = client.get(f"{VM}/config").data
    assert (config["scsi0"], config["unused0"]) == ("fast:vm-101-disk-0,size=4G", "local-lvm:vm-101-disk-0")
    assert client.task(client.post(f"{VM}/move_disk", disk="scsi0", storage="local-lvm", delete=1)) == "OK"
    assert client.get("/nodes/pve/storage/fast/content").data == []
    assert client.post(f"{VM}/move_disk", disk="ide2", storage="fast").reason == "you can't move a cdrom"


def test_migrate(lab: Lab) -> None:
    client = lab.vm()
    assert client.post(f"{VM}/migrate", target="pve").json["errors"] == {"target": "target is local node."}
    assert client.post(f"{VM}/migrate", target="pve7").reason == "no such cluster node 'pve7'"
    assert client.task(client.post(f"{VM}/migrate", target="pve2")) == "OK"
    assert client.get("/nodes/pve2/qemu/101/config").status == 200
    client.task(client.post("/nodes/pve2/qemu/101/status/start"))
    online = {"target": "pve", "online": 1}
    assert client.task(client.post("/nodes/pve2/qemu/101/migrate", **online)) == "migration aborted"
    assert client.task(client.post("/nodes/pve2/qemu/101/migrate", **online, **{"with__local__disks": 1})) == "OK"


def test_snapshots(lab: Lab) -> None:
    client = lab.vm(cores=2)
    for name, cores in (("one", 3), ("two", 4)):
        client.task(client.post(f"{VM}/snapshot", snapname=name, description=f"before {name}"))
        client.put(f"{VM}/config", cores=cores)
    rows = client.get(f"{VM}/snapshot").data
    assert [(row["name"], row.get("parent")) for row in rows] == [("one", None), ("two", "one"), ("current", "two")]
    assert client.get(f"{VM}/snapshot/one/config").data["cores"] == 2
    assert client.task(client.post(f"{VM}/snapshot/one/rollback")) == "WARNINGS: 1"
    assert client.get(f"{VM}/config").data["cores"] == 2
    assert client.post(f"{VM}/template").reason == "unable to create template, because VM contains snapshots"
    assert client.task(client.delete(f"{VM}/snapshot/one")) == "OK"
    assert client.task(client.delete(f"{VM}/snapshot/one")) == "snapshot 'one' does not exist"
    assert [row["name"] for row in client.get(f"{VM}/snapshot").data] == ["two", "current"]


def test_cloudinit_shows_what_is_new_and_is_rebuilt(lab: Lab) -> None:
    client = lab.vm(ide0="local-lvm:cloudinit", ciuser="old")
    client.task(client.post(f"{VM}/status/start"))
    client.put(f"{VM}/config", ciuser="new", searchdomain="x")
    rows = {row["key"]: row for row in client.get(f"{VM}/cloudinit").data}
    assert rows["ciuser"] == {"key": "ciuser", "value": "old", "pending": "new"}
    assert rows["searchdomain"] == {"key": "searchdomain", "pending": "x"}
    assert client.put(f"{VM}/cloudinit").json == {"data": None}
    rows = {row["key"]: row for row in client.get(f"{VM}/cloudinit").data}
    assert rows["ciuser"] == {"key": "ciuser", "value": "new"}
    assert client.get(f"{TEMPLATE}/cloudinit/dump", type="user").reason == "no cloudinit drive found"


def test_pools(lab: Lab) -> None:
    client = lab.vm()
    assert client.post("/pools", poolid="k8s", comment="cluster").data is None
    assert client.post("/pools", poolid="k8s").reason == "create pool failed: pool 'k8s' already exists"
    assert client.task(client.post(f"{TEMPLATE}/clone", newid=102, pool="k8s")) == "OK"
    assert client.put("/pools", poolid="k8s", vms="101", storage="local").data is None
    members = client.get("/pools", poolid="k8s").data[0]["members"]
    assert [member["id"] for member in members] == ["qemu/102", "qemu/101", "storage/pve/local"]
    assert client.post(f"{TEMPLATE}/clone", newid=103, pool="none").reason == "pool 'none' does not exist"
    assert client.delete("/pools/k8s").reason == "delete pool failed: pool 'k8s' is not empty"
    assert client.put("/pools/k8s", vms="101,102", storage="local", delete=1).data is None
    assert client.delete("/pools", poolid="k8s").data is None


def test_purge_removes_what_refers_to_the_vm(lab: Lab) -> None:
    client = lab.vm()
    client.post("/pools", poolid="k8s")
    client.put("/pools/k8s", vms="101")
    client.put("/access/acl", path="/vms/101", roles="PVEVMUser", users="saltern@pve")
    client.post("/cluster/ha/resources", sid="101", state="stopped")
    assert client.task(client.delete(VM, purge=1, **{"destroy-unreferenced-disks": 1})) == "OK"
    assert client.get("/pools/k8s").data["members"] == []
    assert client.get("/cluster/ha/resources").data == []
    assert not [row for row in client.get("/access/acl").data if row["path"] == "/vms/101"]


def test_firewall_is_kept(lab: Lab) -> None:
    client = lab.vm()
    assert client.put(f"{VM}/firewall/options", enable=1, policy_in="DROP").data is None
    assert client.get(f"{VM}/firewall/options").data == {"enable": 1, "policy_in": "DROP"}
    assert client.post(f"{VM}/firewall/rules", type="in", action="ACCEPT", dport="22").data is None
    assert client.get(f"{VM}/firewall/rules").data == [{"type": "in", "action": "ACCEPT", "dport": "22", "pos": 0}]
    assert client.delete(f"{VM}/firewall/rules/0").data is None
    assert client.delete(f"{VM}/firewall/rules/0").reason == "no rule at position 0"


def test_task_lists_and_log(lab: Lab) -> None:
    client = lab.vm(cores=2)
    client.task(client.post("/nodes/pve/qemu/400/status/start"))
    types = [row["type"] for row in client.get("/nodes/pve/tasks").data]
    assert types == ["qmstart", "qmconfig", "qmclone"]
    failed = client.get("/nodes/pve/tasks", errors=1).data
    assert [(row["id"], row["status"]) for row in failed] == [
        ("400", "Configuration file 'nodes/pve/qemu-server/400.conf' does not exist")
    ]
    assert [row["type"] for row in client.get("/nodes/pve/tasks", vmid=101).data] == ["qmconfig"]
    assert client.get("/nodes/pve/tasks", source="active").data == []
    recent = client.get("/cluster/tasks").data
    assert all("endtime" in row for row in recent) and recent[1]["status"] == "OK"
    log = client.get(f"/nodes/pve/tasks/{recent[1]['upid']}/log").data
    assert log == [{"n": 1, "t": "update VM 101: -cores 2"}, {"n": 2, "t": "TASK OK"}]
    assert client.get(f"/nodes/pve/tasks/{recent[1]['upid']}/log", start=1, limit=1).data == log[1:]


def test_unknown_task(lab: Lab) -> None:
    upid = "UPID:pve:000003E9:00000001:65000000:qmstart:101:root@pam:"
    answer = lab.root.get(f"/nodes/pve/tasks/{upid}/status")
    assert (answer.status, answer.json["errors"]) == (400, {"upid": "no such task"})
    assert "unable to parse worker upid" in lab.root.get("/nodes/pve/tasks/UPID:x/status").json["errors"]["upid"]


def test_uploads_are_checked(lab: Lab) -> None:
    client = lab.root
    assert upload(client, "pve", "a.txt", b"x").json["errors"] == {"filename": "wrong file extension"}
    assert list((lab.datacentre.directory / "uploads").glob("*")) == [], "a refused file is not kept"
    form = {"content": "snippets", "filename": "user.yaml"}
    assert "content" in client.post("/nodes/pve/storage/local/upload", **form).json["errors"]


def test_path_of_a_file_cannot_be_smuggled_in(lab: Lab, tmp_path: object) -> None:
    answer = lab.root.post(
        "/nodes/pve/storage/local/upload", content="iso", filename="a.iso", tmpfilename=f"{tmp_path}/state/access.json"
    )
    assert answer.json["errors"] == {
        "tmpfilename": "property is not defined in schema and the schema does not allow additional properties"
    }
    assert (lab.datacentre.directory / "access.json").exists()


def test_storages(lab: Lab) -> None:
    client = lab.root
    rows = {row["storage"]: row for row in client.get("/nodes/pve/storage").data}
    assert rows["local"]["content"] == "iso,vztmpl,import"
    assert rows["local-lvm"]["used"] == 4 * GIB
    assert [row["storage"] for row in client.get("/nodes/pve/storage", content="images").data] == ["local-lvm"]
    assert client.get("/nodes/pve/storage/none/status").reason == "storage 'none' does not exist"
    missing = client.delete("/nodes/pve/storage/local/content/iso/none.iso")
    assert client.task(missing) == "volume 'local:iso/none.iso' does not exist"


def test_values_are_checked_in_proxmoxs_words(lab: Lab) -> None:
    client = lab.vm()
    cases = {
        "name": ("a_b", "invalid format - value does not look like a valid DNS name"),
        "cores": ("0", "value must have a minimum value of 1"),
        "sshkeys": ("ssh-rsa A+B", "invalid format - invalid urlencoded string: ssh-rsa A+B"),
        "tags": ("a b!", "invalid format - invalid characters in tag: b!"),
        "ipconfig0": (
            "ip=10.0.0.5",
            "invalid format - format error\nip: invalid format - value does not look like a valid ipv4 network",
        ),
        "ostype": ("beos", "value 'beos' does not have a value in the enumeration "),
        "net0": ("virtio=01:00:00:00:00:00", "invalid format - format error\nmacaddr: invalid format - "),
    }
    errors = client.put(f"{VM}/config", **{key: value for key, (value, _) in cases.items()}).json["errors"]
    assert set(errors) == set(cases)
    for key, (_, text) in cases.items():
        assert errors[key].startswith(text)


def test_access_calls(lab: Lab) -> None:
    client = lab.root
    assert "root@pam" in [row["userid"] for row in client.get("/access/users").data]
    assert (
        client.post("/access/users", userid="root@pam").reason == "create user failed: user 'root@pam' already exists"
    )
    roles = {row["roleid"]: row for row in client.get("/access/roles").data}
    assert roles["PVEVMAdmin"]["special"] == 1 and "VM.GuestAgent.Unrestricted" in roles["PVEVMAdmin"]["privs"]
    assert client.get("/access/roles/SalternNetwork").data == {"SDN.Use": 1}
    assert (
        client.get("/access/permissions", path="/vms/1", userid="saltern@pve!salt").data["/vms/1"]["VM.Allocate"] == 1
    )
    assert client.put("/access/acl", path="/", roles="none", users="root@pam").reason == "role 'none' does not exist"
    assert [row["tokenid"] for row in client.get("/access/users/saltern@pve/token").data] == ["salt"]
    assert client.delete("/access/users/saltern@pve/token/salt").data is None
    assert lab.saltern.get("/version").status == 401
    assert [row["realm"] for row in lab.client().get("/access/domains").data] == ["pam", "pve"]
    assert client.put("/access/password", userid="saltern@pve", password=PHRASE).data is None
    assert lab.login("saltern@pve", PHRASE).get("/version").status == 200
