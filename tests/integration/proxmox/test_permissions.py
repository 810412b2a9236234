"""Who may do what: roles, access lists, privilege separation, and the product's least privileges."""

from __future__ import annotations

import pytest

from tests.integration.proxmox.conftest import PHRASE, Client, Lab


def user(lab: Lab, *grants: tuple[str, str]) -> Client:
    """Return a client of a new user that holds (path, privileges) grants, by a role of its own for each."""
    root = lab.root
    root.post("/access/users", userid="u@pve", password=PHRASE)
    for number, (path, privileges) in enumerate(grants):
        assert root.post("/access/roles", roleid=f"r{number}", privs=privileges).data is None
        assert root.put("/access/acl", path=path, roles=f"r{number}", users="u@pve").data is None
    return lab.login("u@pve", PHRASE)


CLONE = [("/vms/9000", "VM.Clone"), ("/vms/101", "VM.Allocate"), ("/storage", "Datastore.AllocateSpace")]
NETWORK = ("/sdn/zones/localnetwork/vmbr0", "SDN.Use")


@pytest.mark.parametrize(
    ("grants", "reason"),
    [
        ([], "Permission check failed (/vms/9000, VM.Clone)"),
        (CLONE[:1], "Permission check failed"),
        (CLONE[:2], "Permission check failed (/storage/local-lvm, Datastore.AllocateSpace)"),
        (CLONE, "Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)"),
    ],
)
def test_clone_names_what_is_missing(lab: Lab, grants: list[tuple[str, str]], reason: str) -> None:
    answer = user(lab, *grants).post("/nodes/pve/qemu/9000/clone", newid=101)
    assert (answer.status, answer.reason) == (403, reason)


def test_clone_with_just_enough(lab: Lab) -> None:
    client = user(lab, *CLONE, NETWORK)
    assert client.task(client.post("/nodes/pve/qemu/9000/clone", newid=101)) == "OK"


def test_clone_into_a_pool_needs_the_right_on_the_pool_only(lab: Lab) -> None:
    lab.root.post("/pools", poolid="k8s")
    client = user(lab, CLONE[0], CLONE[2], NETWORK, ("/pool/k8s", "VM.Allocate,VM.Audit"))
    assert client.post("/nodes/pve/qemu/9000/clone", newid=101).status == 403
    assert client.task(client.post("/nodes/pve/qemu/9000/clone", newid=101, pool="k8s")) == "OK"
    assert client.get("/nodes/pve/qemu/101/config").status == 200, "the pool's rights hold on its member"


@pytest.mark.parametrize(
    ("option", "value", "privilege"),
    [
        ("cores", "4", "VM.Config.CPU"),
        ("memory", "4096", "VM.Config.Memory"),
        ("net0", "virtio", "VM.Config.Network"),
        ("scsi1", "local-lvm:1", "VM.Config.Disk"),
        ("ide2", "none,media=cdrom", "VM.Config.CDROM"),
        ("boot", "order=scsi0", "VM.Config.Disk"),
        ("tags", "a", "VM.Config.Options"),
        ("ciuser", "k8s", "VM.Config.Cloudinit"),
        ("scsihw", "virtio-scsi-pci", "VM.Config.HWType"),
    ],
)
def test_each_option_has_its_privilege(lab: Lab, option: str, value: str, privilege: str) -> None:
    lab.vm()
    other = "VM.Config.Memory" if privilege != "VM.Config.Memory" else "VM.Config.CPU"
    client = user(lab, ("/vms/101", other), ("/storage", "Datastore.AllocateSpace"))
    answer = client.put("/nodes/pve/qemu/101/config", **{option: value})
    assert answer.status == 403
    assert answer.reason.startswith(f"Permission check failed (/vms/101, {privilege}")
    assert lab.root.put("/access/roles/r0", privs=privilege).data is None
    assert client.put("/nodes/pve/qemu/101/config", **{option: value}).data is None


def test_nothing_at_all_names_every_configuration_privilege(lab: Lab) -> None:
    answer = user(lab).put("/nodes/pve/qemu/101/config", cores=1)
    assert answer.reason == (
        "Permission check failed (/vms/101, VM.Config.Disk|VM.Config.CDROM|VM.Config.CPU|VM.Config.Memory|"
        "VM.Config.Network|VM.Config.HWType|VM.Config.Options|VM.Config.Cloudinit)"
    )


@pytest.mark.parametrize(
    ("method", "path", "privilege"),
    [
        ("POST", "/nodes/pve/qemu/101/status/start", "/vms/101, VM.PowerMgmt"),
        ("DELETE", "/nodes/pve/qemu/101", "/vms/101, VM.Allocate"),
        ("PUT", "/nodes/pve/qemu/101/resize", "/vms/101, VM.Config.Disk"),
        ("POST", "/nodes/pve/qemu/101/agent/exec", "/vms/101, VM.GuestAgent.Unrestricted"),
        ("GET", "/nodes/pve/qemu/101/agent/get-osinfo", "/vms/101, VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted"),
        ("POST", "/nodes/pve/storage/local/upload", "/storage/local, Datastore.AllocateTemplate"),
        ("DELETE", "/nodes/pve/storage/local/content/iso/a.iso", "/storage/local, Datastore.Allocate"),
        ("DELETE", "/nodes/pve/storage/local-lvm/content/vm-101-disk-0", "/storage/local-lvm, Datastore.Allocate"),
        ("GET", "/nodes/pve/status", "/nodes/pve, Sys.Audit"),
        ("GET", "/cluster/status", "/, Sys.Audit"),
        ("PUT", "/access/acl?path=/vms", "/vms, Permissions.Modify"),
        ("POST", "/pools?poolid=k8s", "/pool/k8s, Pool.Allocate"),
    ],
)
def test_call_without_its_privilege(lab: Lab, method: str, path: str, privilege: str) -> None:
    answer = user(lab).send(method, path)
    assert (answer.status, answer.reason) == (403, f"Permission check failed ({privilege})")


def test_pool_takes_only_vms_that_one_may_allocate(lab: Lab) -> None:
    root = lab.vm()
    root.post("/pools", poolid="k8s")
    client = user(lab, ("/pool/k8s", "Pool.Allocate"))
    answer = client.put("/pools/k8s", vms="101")
    assert (answer.status, answer.reason) == (403, "Permission check failed (/vms/101, VM.Allocate)")
    assert root.put("/pools/k8s", vms="101").data is None


def test_lists_show_what_one_may_see(lab: Lab) -> None:
    lab.vm()
    client = user(lab, ("/vms/101", "VM.Audit"))
    assert [row["vmid"] for row in client.get("/nodes/pve/qemu").data] == [101]
    assert [row["vmid"] for row in client.get("/cluster/resources", type="vm").data] == [101]
    assert client.get("/nodes/pve/storage").data == []
    assert "maxmem" not in client.get("/nodes").data[0]


def test_nearer_line_replaces_the_farther_and_propagate_ends(lab: Lab) -> None:
    client = user(lab, ("/vms", "VM.Audit,VM.PowerMgmt"), ("/vms/9000", "VM.Clone"))
    assert client.get("/nodes/pve/qemu/9000/config").status == 403
    assert client.get("/nodes/pve/qemu/4711/config").status == 500, "inherited from /vms"
    lab.root.put("/access/acl", path="/vms", roles="r0", users="u@pve", propagate=0)
    assert client.get("/nodes/pve/qemu/4711/config").status == 403


def test_separated_token_starts_with_nothing(lab: Lab) -> None:
    root = lab.root
    value = root.post("/access/users/root@pam/token/ci").data["value"]
    client = lab.client(Authorization=f"PVEAPIToken=root@pam!ci={value}")
    assert client.get("/nodes/pve/qemu/9000/config").status == 403
    root.put("/access/acl", path="/vms", roles="PVEVMAdmin", tokens="root@pam!ci")
    assert client.get("/nodes/pve/qemu/9000/config").status == 200
    assert client.get("/cluster/status").status == 403


def test_invalid_privilege_and_reserved_role(lab: Lab) -> None:
    assert lab.root.post("/access/roles", roleid="r", privs="VM.Monitor").json["errors"] == {
        "privs": "invalid privilege 'VM.Monitor'"
    }
    assert lab.root.post("/access/roles", roleid="PVEmine", privs="").status == 400


def test_a_user_has_the_tasks_of_its_tokens_and_a_token_only_its_own(lab: Lab) -> None:
    by_token = lab.saltern.post("/nodes/pve/qemu/9000/clone", newid=101).data
    user_of_it = lab.login("saltern@pve", _password(lab))
    by_user = user_of_it.post("/nodes/pve/qemu/9000/clone", newid=102).data
    assert user_of_it.delete(f"/nodes/pve/tasks/{by_token}").status == 200
    answer = lab.saltern.delete(f"/nodes/pve/tasks/{by_user}")
    assert (answer.status, answer.reason) == (403, "Permission check failed (/nodes/pve, Sys.Modify)")


def _password(lab: Lab) -> str:
    return (lab.datacentre.directory / "credentials" / "saltern@pve.password").read_text().strip()


def test_task_of_another_is_not_shown(lab: Lab) -> None:
    upid = lab.root.post("/nodes/pve/qemu/9000/clone", newid=101).data
    assert user(lab).get(f"/nodes/pve/tasks/{upid}/status").status == 403
    assert lab.saltern.get(f"/nodes/pve/tasks/{upid}/status").status == 200, "Sys.Audit reads them all"


def test_the_products_user_can_do_no_more_than_its_work(lab: Lab) -> None:
    client = lab.saltern
    assert client.delete("/nodes/pve/qemu/9000").status == 403
    assert client.put("/nodes/pve/qemu/9000/config", cores=1).status == 403
    assert client.post("/access/users", userid="x@pve").status == 403
    assert client.post("/nodes/pve/qemu/9000/template").status == 403
    lab.vm()
    assert client.put("/nodes/pve/qemu/101/config", scsihw="lsi").status == 403
    assert client.put("/nodes/pve/qemu/101/config", args="-S").reason == "only root can set 'args' config"
