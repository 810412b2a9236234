"""The real salt-cloud with the product's driver, profiles and map: what an operator types, and what comes of it.

One story in the order of an operator's day: the tests of this file share one Proxmox and one master.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from proxmoxer import ProxmoxAPI

from saltern import unmake
from saltern.run import Run, StageError
from tests.integration.cloud.conftest import CHECKOUT, NAMES, SALT_CLOUD, Proxmox, Result
from tests.integration.cloud.machines import MUTE

MAP = str(CHECKOUT / "cloud.maps.d" / "cluster.map")
PROVIDER = "my-proxmox-config"
SaltCloud = Callable[..., Result]


@pytest.fixture
def root_api(proxmox: Proxmox) -> ProxmoxAPI:
    """Proxmox as its administrator sees it, apart from the driver."""
    password = (proxmox.state / "credentials" / "root@pam.password").read_text().strip()
    return ProxmoxAPI(
        "127.0.0.1", port=proxmox.port, user="root@pam", password=password, verify_ssl=str(proxmox.ca_file)
    )


@pytest.fixture
def machines(root_api: ProxmoxAPI) -> Callable[[], dict[str, Any]]:
    """The machines on Proxmox: {name: row}."""
    return lambda: {row["name"]: row for row in root_api.nodes("pve").qemu.get() if "template" not in row}


def test_list_locations(salt_cloud: SaltCloud) -> None:
    done = salt_cloud("--list-locations", PROVIDER)
    assert done.returncode == 0
    assert done.data[PROVIDER]["proxmox"]["pve"]["status"] == "online"


def test_list_images(salt_cloud: SaltCloud) -> None:
    done = salt_cloud("--list-images", PROVIDER)
    assert done.data[PROVIDER]["proxmox"]["debian-12-saltern"]["type"] == "template"


def test_list_sizes_says_that_there_are_none(salt_cloud: SaltCloud) -> None:
    done = salt_cloud("--list-sizes", PROVIDER)
    assert done.returncode == 0
    assert done.data == {}
    assert "Proxmox has no sizes" in done.stderr


# The provider file of document 3, letter by letter but for the account, the host and its port.
DOCUMENT_3 = """\
   my-proxmox-config:
     # Proxmox account information
     user: {user}
     password: {password}
     url: {host}
     port: {port}
     driver: proxmox
     verify_ssl: True
"""


@pytest.mark.parametrize("question", ["--list-locations", "--list-images", "--list-sizes"])
def test_the_provider_file_of_document_3_passes_its_self_test(
    salt_cloud: SaltCloud, proxmox: Proxmox, question: str
) -> None:
    text = DOCUMENT_3.format(user="saltern@pve", password=proxmox.password, host="127.0.0.1", port=proxmox.port)
    done = salt_cloud(question, PROVIDER, provider_file=text, trusted=proxmox.ca_file)
    assert done.returncode == 0
    assert "ERROR" not in done.stderr
    found = done.data.get(PROVIDER, {}).get("proxmox", {})
    assert list(found) == {"--list-locations": ["pve"], "--list-images": ["debian-12-saltern"]}.get(question, [])


def test_a_token_does_as_well(salt_cloud: SaltCloud, proxmox: Proxmox) -> None:
    name, value = proxmox.token
    token = {"user": None, "password": None, "token_name": name, "token_value": value}
    assert "pve" in salt_cloud("--list-locations", PROVIDER, provider_changes=token).data[PROVIDER]["proxmox"]


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"password": "wrong"}, ["POST access/ticket: 401 authentication failure", "password of saltern@pve is wrong"]),
        ({"verify_ssl": True}, ["the certificate of 127.0.0.1", "/etc/pve/pve-root-ca.pem"]),
        ({"port": 1}, ["127.0.0.1:1 cannot be reached", "Connection refused", "url and port"]),
        ({"password": None}, ["Provider my-proxmox-config", "key password", "it is missing"]),
        ({"verify_ssl": "/no/such.pem"}, ["key verify_ssl", "there is no file /no/such.pem"]),
    ],
)
def test_a_provider_that_does_not_work_says_why(
    salt_cloud: SaltCloud, changes: dict[str, Any], messages: list[str]
) -> None:
    done = salt_cloud("--list-locations", PROVIDER, provider_changes=changes)
    for message in messages:
        assert message in done.stderr


@pytest.mark.parametrize("words", [("-P", "-m", MAP, "-y"), ("-p", "worker", "cloud-w-05")])
def test_a_wrong_definition_is_told_in_full_and_nothing_is_made(
    salt_cloud: SaltCloud, cloud_pillar: list[str], machines: Callable[[], dict[str, Any]], words: tuple[str, ...]
) -> None:
    overlay = Path(cloud_pillar[-1]) / "cluster.sls"
    overlay.write_text(json.dumps({"cluster": {"nme": "x"}, "nodes": {"cloud-w": {"cpus": 0}}}))
    try:
        done = salt_cloud(*words)
    finally:
        overlay.unlink()
    assert done.returncode != 0
    for words_of_it in ("has 2 errors; nothing was done", "cluster.nme", "nodes.cloud-w.cpus = 0", str(overlay)):
        assert words_of_it in done.stderr
    assert "Traceback" not in done.stderr
    assert machines() == {}


def test_the_map_makes_the_table(
    salt_cloud: SaltCloud,
    proxmox: Proxmox,
    cloud_master: Any,
    cloud_root: Path,
    machines: Callable[[], dict[str, Any]],
    accepted_keys: Callable[[], list[str]],
) -> None:
    done = salt_cloud("-P", "-m", MAP, "-y", "-l", "all")

    assert done.returncode == 0
    made = machines()
    assert sorted(made) == sorted(NAMES), done.stdout + done.stderr
    assert {row["status"] for row in made.values()} == {"running"}
    assert accepted_keys() == sorted(NAMES)
    answers = cloud_master.salt_cli(timeout=60).run("test.ping", minion_tgt="cloud-*").data
    assert answers == dict.fromkeys(NAMES, True)
    assert proxmox.images() == []
    for name in NAMES:
        assert f"{name}: cloning debian-12-saltern (linked)" in done.stderr
    _assert_nothing_secret(done, proxmox, cloud_root, Path(cloud_master.config["log_file"]).parent)


def _assert_nothing_secret(done: Result, proxmox: Proxmox, *directories: Path) -> None:
    """Neither the output at the finest log level nor any log has the password or a private key."""
    texts = [done.stdout, done.stderr]
    for directory in directories:
        texts += [path.read_text(errors="replace") for path in directory.rglob("*log*") if path.is_file()]
        texts += [path.read_text() for path in (directory / "state").rglob("*.json")]
    keys = [path.read_text() for path in proxmox.machines.rglob("minion.pem")]
    assert len(keys) == len(NAMES)
    for secret in [proxmox.password, *(key.splitlines()[3] for key in keys)]:
        assert not [text for text in texts if secret in text]
    for path in proxmox.machines.rglob("minion.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o400


def test_the_map_again_changes_nothing(salt_cloud: SaltCloud, root_api: ProxmoxAPI) -> None:
    before = len(root_api.nodes("pve").tasks.get(source="all", limit=500))
    done = salt_cloud("-P", "-m", MAP, "-y")
    assert done.returncode == 0
    assert done.data == {name: {"Message": "Already running."} for name in NAMES}
    assert len(root_api.nodes("pve").tasks.get(source="all", limit=500)) == before
    assert "differs" not in done.stderr
    assert "unclosed" not in done.stderr


def test_a_machine_that_differs_is_named(
    salt_cloud: SaltCloud, root_api: ProxmoxAPI, machines: Callable[[], dict[str, Any]]
) -> None:
    config = root_api.nodes("pve").qemu(machines()["cloud-w"]["vmid"]).config
    config.put(memory=4096)
    try:
        done = salt_cloud("-P", "-m", MAP, "-y")
        assert "cloud-w exists and differs from pillar/cluster.sls: memory_mib is 4096, defined 16384" in done.stderr
        named = salt_cloud("-f", "differences", PROVIDER).data[PROVIDER]["proxmox"]
        assert named == {"cloud-w": {"memory_mib": {"actual": "4096", "defined": "16384"}}}
        assert config.get()["memory"] == "4096"
    finally:
        config.put(memory=16384)


def test_query(salt_cloud: SaltCloud) -> None:
    found = salt_cloud("-Q").data[PROVIDER]["proxmox"]
    assert sorted(found) == sorted(NAMES)
    assert found["cloud-w"]["private_ips"] == ["192.168.100.154"]
    assert found["cloud-w"]["state"] == "running"


def test_full_query(salt_cloud: SaltCloud) -> None:
    found = salt_cloud("-F").data[PROVIDER]["proxmox"]["cloud-m"]
    assert found["config"]["ipconfig0"] == "ip=192.168.100.151/24,gw=192.168.100.1"


def test_select_query(salt_cloud: SaltCloud) -> None:
    found = salt_cloud("-S").data[PROVIDER]["proxmox"]["cloud-m"]
    assert {"id", "state"} <= set(found)
    assert "config" not in found


def test_show_instance(salt_cloud: SaltCloud) -> None:
    found = salt_cloud("-a", "show_instance", "cloud-w", "-y").data[PROVIDER]["proxmox"]["cloud-w"]
    assert found["private_ips"] == ["192.168.100.154"]
    assert found["config"]["cores"] == 2


def test_stop_and_start(salt_cloud: SaltCloud, machines: Callable[[], dict[str, Any]]) -> None:
    def act(action: str) -> dict[str, Any]:
        result: dict[str, Any] = salt_cloud("-a", action, "cloud-w", "-y").data[PROVIDER]["proxmox"]["cloud-w"]
        return result

    assert act("stop") == {"state": "stopped", "changed": True}
    assert act("stop") == {"state": "stopped", "changed": False}
    assert machines()["cloud-w"]["status"] == "stopped"
    assert act("start") == {"state": "running", "changed": True}
    assert act("reboot") == {"state": "running", "changed": True}
    assert machines()["cloud-w"]["status"] == "running"


def test_a_further_worker_and_its_end(
    salt_cloud: SaltCloud,
    proxmox: Proxmox,
    root_api: ProxmoxAPI,
    machines: Callable[[], dict[str, Any]],
    accepted_keys: Callable[[], list[str]],
) -> None:
    made = salt_cloud("-p", "worker", "cloud-w-05").data["cloud-w-05"]
    assert made["private_ips"] == ["192.168.100.160"]
    config = root_api.nodes("pve").qemu(made["id"]).config.get()
    assert (config["cores"], config["memory"], config["scsi0"].split("size=")[1]) == (2, "16384", "20G")
    assert "cloud-w-05" in accepted_keys()
    assert yaml.safe_load(Path(made["row"]).read_text())["cloud-w-05"]["address"] == "192.168.100.160"

    again = salt_cloud("-p", "worker", "cloud-w-05")
    assert "already exists" in again.data["cloud-w-05"]["Error"]
    assert machines()["cloud-w-05"]["vmid"] == made["id"]

    gone = salt_cloud("-d", "cloud-w-05", "-y")
    assert gone.returncode == 0
    assert "cloud-w-05" not in machines()
    assert "cloud-w-05" not in accepted_keys()
    assert not Path(made["row"]).exists()
    assert proxmox.images() == []


@pytest.fixture
def run(cloud_master: Any, cloud_pillar: list[str], cloud_root: Path) -> Iterator[Run]:
    """A run of an orchestration on this master."""
    specification = importlib.util.spec_from_file_location("saltern_bus", CHECKOUT / "_utils" / "saltern_bus.py")
    assert specification and specification.loader
    bus = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(bus)
    run = Run(
        lambda: bus.transport(cloud_master.config["conf_file"]), cloud_pillar, str(cloud_root / "state"),
        report=lambda line: None,
    )  # fmt: skip
    yield run
    run.close("succeeded")


def test_a_removal_destroys_machine_key_and_row_or_says_why_not(
    salt_cloud: SaltCloud,
    run: Run,
    cloud_master: Any,
    root_api: ProxmoxAPI,
    machines: Callable[[], dict[str, Any]],
    accepted_keys: Callable[[], list[str]],
) -> None:
    made = salt_cloud("-p", "worker", "cloud-w-08").data["cloud-w-08"]
    command = [str(SALT_CLOUD), f"--config-dir={cloud_master.config_dir}"]
    assert unmake.existing(run, command)["cloud-w-08"] == {"id": made["id"], "state": "running"}

    root_api.nodes("pve").qemu(made["id"]).config.put(protection=1)
    with pytest.raises(StageError, match=r"cloud-w-08: Machine: .*protection") as refused:
        unmake.destroy(run, command, ["cloud-w-08"], 120)
    assert [problem.node for problem in refused.value.problems] == ["cloud-w-08"]
    assert "cloud-w-08" in machines() and "cloud-w-08" in accepted_keys() and Path(made["row"]).exists()

    root_api.nodes("pve").qemu(made["id"]).config.put(protection=0)
    assert unmake.destroy(run, command, ["cloud-w-08", "cloud-w-99"], 120) == {"cloud-w-08": unmake.DESTROYED}
    assert "cloud-w-08" not in machines() and "cloud-w-08" not in accepted_keys() and not Path(made["row"]).exists()

    left_key(cloud_master, "cloud-w-08")
    assert unmake.destroy(run, command, ["cloud-w-08"], 120) == {}
    assert "cloud-w-08" not in accepted_keys()


def left_key(master: Any, name: str) -> None:
    """An accepted key of a minion whose machine is gone."""
    key = (Path(master.config["pki_dir"]) / "minions" / "cloud-w").read_text()
    (Path(master.config["pki_dir"]) / "minions" / name).write_text(key)


def test_a_failed_create_says_so_and_leaves_nothing(
    salt_cloud: SaltCloud,
    proxmox: Proxmox,
    cloud_pillar: list[str],
    machines: Callable[[], dict[str, Any]],
    accepted_keys: Callable[[], list[str]],
) -> None:
    overlay = Path(cloud_pillar[-1]) / "cluster.sls"
    overlay.write_text(json.dumps({"proxmox": {"template": "debian-99"}}))
    try:
        done = salt_cloud("-p", "worker", "cloud-w-06")
    finally:
        overlay.unlink()
    assert done.returncode != 0
    assert "Proxmox has no such template; it has: debian-12-saltern (9000 on pve)" in done.stderr
    assert "cloud-w-06" not in machines()
    assert "cloud-w-06" not in accepted_keys()
    assert proxmox.images() == []


def test_a_machine_that_never_answers_is_named_and_leaves_nothing(
    salt_cloud: SaltCloud,
    proxmox: Proxmox,
    machines: Callable[[], dict[str, Any]],
    accepted_keys: Callable[[], list[str]],
) -> None:
    mute = proxmox.machines / MUTE
    mute.touch()
    try:
        done = salt_cloud("-p", "worker", "cloud-w-06", provider_changes={"answer_timeout_s": 1})
    finally:
        mute.unlink()
    assert done.returncode != 0
    assert "cloud-w-06 was not created. Waiting for cloud-w-06" in done.stderr
    assert "its minion did not answer within 1 s; Proxmox has the machine as running" in done.stderr
    assert "its guest agent reports 192.168.100.160. Look at its console" in done.stderr
    assert "docs/runbooks/machine-silent.md" in done.stderr
    assert "cloud-w-06" not in machines()
    assert "cloud-w-06" not in accepted_keys()
    assert proxmox.images() == []

    assert salt_cloud("-p", "worker", "cloud-w-06").data["cloud-w-06"]["private_ips"] == ["192.168.100.160"]
    salt_cloud("-d", "cloud-w-06", "-y")


def test_a_killed_create_is_made_anew(
    salt_cloud: SaltCloud,
    killed_while: Callable[[str, list[str]], None],
    root_api: ProxmoxAPI,
    proxmox: Proxmox,
    machines: Callable[[], dict[str, Any]],
    accepted_keys: Callable[[], list[str]],
) -> None:
    """salt-cloud dies while its machine boots: a half-made machine and its seed image with the key are left."""
    salt_cloud("--list-locations", PROVIDER)
    killed_while("waiting for its minion", ["-p", "worker", "cloud-w-07"])
    left = machines()["cloud-w-07"]["vmid"]
    seed = proxmox.images()
    assert len(seed) == 1

    done = salt_cloud("-p", "worker", "cloud-w-07")
    assert "cloud-w-07 was left half made by a create that died" in done.stderr
    assert "cloud-w-07: removing what an earlier create left unfinished" in done.stderr
    made = done.data["cloud-w-07"]
    assert made["private_ips"] == ["192.168.100.160"]
    assert machines()["cloud-w-07"]["vmid"] == made["id"]
    assert [row["vmid"] for row in root_api.nodes("pve").qemu.get() if row["name"] == "cloud-w-07"] == [made["id"]]
    assert proxmox.images() == []
    assert str(left) in {task["id"] for task in root_api.nodes("pve").tasks.get() if task["type"] == "qmdestroy"}

    salt_cloud("-d", "cloud-w-07", "-y")
    assert "cloud-w-07" not in machines()
    assert "cloud-w-07" not in accepted_keys()


def test_a_removal_removes_what_a_killed_create_left_when_its_machine_is_gone(
    salt_cloud: SaltCloud,
    run: Run,
    cloud_master: Any,
    killed_while: Callable[[str, list[str]], None],
    root_api: ProxmoxAPI,
    proxmox: Proxmox,
    machines: Callable[[], dict[str, Any]],
    accepted_keys: Callable[[], list[str]],
) -> None:
    """salt-cloud destroys only what it is told exists: here the seed image with the key, and no machine."""
    salt_cloud("--list-locations", PROVIDER)
    killed_while("waiting for its minion", ["-p", "worker", "cloud-w-07"])
    machine = root_api.nodes("pve").qemu(machines()["cloud-w-07"]["vmid"])
    machine.status.stop.post()
    while machines()["cloud-w-07"]["status"] == "running":
        signal.sigtimedwait([], 0.1)
    machine.delete()
    while "cloud-w-07" in machines():
        signal.sigtimedwait([], 0.1)
    assert "cloud-w-07" in accepted_keys() and len(proxmox.images()) == 1

    command = [str(SALT_CLOUD), f"--config-dir={cloud_master.config_dir}"]
    _machine, left, *_ = unmake.left_behind(run, unmake.existing(run, command))["cloud-w-07"]
    assert left.startswith("seed image local:iso/cloud-w-07-seed-")
    assert unmake.destroy(run, command, ["cloud-w-07"], 120) == {"cloud-w-07": unmake.CLEANED}
    assert unmake.left_behind(run, {}) == {}
    assert "cloud-w-07" not in accepted_keys()
    assert proxmox.images() == []


def test_destroy_the_table(
    salt_cloud: SaltCloud, machines: Callable[[], dict[str, Any]], accepted_keys: Callable[[], list[str]]
) -> None:
    done = salt_cloud("-P", "-m", MAP, "-d", "-y")
    assert done.returncode == 0
    assert machines() == {}
    assert accepted_keys() == []
