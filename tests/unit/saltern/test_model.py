"""What follows from a definition."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from pydantic import ValidationError

from saltern.model import MachineSize, machine_spec
from tests.unit.saltern.definitions import shipped


def address(last: int) -> IPv4Address:
    return IPv4Address(f"192.168.100.{last}")


def second_load_balancer() -> dict[str, object]:
    row = {"role": "load_balancer", "address": "192.168.100.158", "cpus": 2, "memory_gib": 4, "disk_gib": 20}
    return {"cluster": {"virtual_address": "192.168.100.149"}, "nodes": {"saw-k8s-ha-02": row}}


def test_the_endpoint_is_the_only_load_balancers(tmp_path):
    assert str(shipped(tmp_path).endpoint) == "192.168.100.150:6443"


def test_the_endpoint_of_two_load_balancers_is_their_shared_address(tmp_path):
    assert str(shipped(tmp_path, second_load_balancer()).endpoint) == "192.168.100.149:6443"


def test_the_dns_service_has_the_tenth_address(tmp_path):
    assert str(shipped(tmp_path).dns_service_address) == "10.0.0.10"
    other = shipped(tmp_path / "other", {"cluster": {"service_cidr": "10.96.0.0/16"}})
    assert str(other.dns_service_address) == "10.96.0.10"


def test_rows_by_role_keep_the_tables_order(tmp_path):
    cluster = shipped(tmp_path)
    assert [node.name for node in cluster.load_balancers] == ["saw-k8s-ha-01"]
    assert [node.name for node in cluster.control_plane] == ["saw-k8s-m-01", "saw-k8s-m-02", "saw-k8s-m-03"]
    assert [node.name for node in cluster.workers] == [f"saw-k8s-w-0{number}" for number in (1, 2, 3, 4)]
    assert cluster.kubernetes_nodes == [*cluster.control_plane, *cluster.workers]


def test_the_next_worker_gets_the_lowest_address_that_nothing_has(tmp_path):
    cluster = shipped(tmp_path)
    assert cluster.next_worker_address([]) == address(160)
    assert cluster.next_worker_address([address(160), address(162)]) == address(161)
    assert cluster.next_worker_address([address(last) for last in range(160, 190)]) is None


def test_without_a_range_there_is_no_next_worker(tmp_path):
    assert shipped(tmp_path, {"cluster": {"worker_range": None}}).next_worker_address([]) is None


def test_a_definition_does_not_change_after_loading(tmp_path):
    cluster = shipped(tmp_path)
    with pytest.raises(ValidationError):
        cluster.proxmox.node = "other"


def test_the_machine_of_a_row(tmp_path):
    spec = machine_spec(shipped(tmp_path, {"nodes": {"saw-k8s-w-02": {"proxmox_node": "pve2"}}}), "saw-k8s-w-02")
    assert (spec.name, spec.role, spec.arch) == ("saw-k8s-w-02", "worker", "amd64")
    assert (spec.cpus, spec.memory_mib, spec.disk_gib) == (2, 16384, 20)
    assert (spec.address, spec.prefix_length, spec.gateway, spec.dns) == (address(155), 24, address(1), (address(1),))
    assert spec.tags == ("saltern", "saw-k8s", "worker")
    assert (spec.proxmox_node, spec.template, spec.bridge) == ("pve2", "debian-12-saltern", "vmbr0")
    assert (spec.storage, spec.iso_storage, spec.disk_device) == ("local-lvm", "local", "scsi0")
    assert (spec.clone, spec.pool, spec.onboot) == ("linked", None, True)


def test_the_machine_of_a_row_is_the_rows_whatever_the_caller_says(tmp_path):
    spec = machine_spec(shipped(tmp_path), "saw-k8s-w-02", address=address(200), size=MachineSize(1, 1, 1))
    assert (spec.address, spec.cpus) == (address(155), 2)


def test_the_machine_of_a_name_without_a_row_is_the_callers(tmp_path):
    size = MachineSize(cpus=4, memory_gib=32, disk_gib=50)
    spec = machine_spec(shipped(tmp_path), "saw-k8s-w-05", address=address(160), size=size)
    assert (spec.name, spec.role, spec.address) == ("saw-k8s-w-05", "worker", address(160))
    assert (spec.cpus, spec.memory_mib, spec.disk_gib) == (4, 32768, 50)
    assert spec.proxmox_node == "pve"


def test_a_name_without_row_and_size_is_like_the_first_of_its_role(tmp_path):
    spec = machine_spec(shipped(tmp_path), "saw-k8s-m-04", role="control_plane", address=address(160))
    assert (spec.cpus, spec.memory_mib, spec.disk_gib) == (2, 8192, 20)


def test_a_name_without_row_and_address_is_refused(tmp_path):
    with pytest.raises(LookupError, match=r"saw-k8s-w-05 has no row in nodes .* no address"):
        machine_spec(shipped(tmp_path), "saw-k8s-w-05")


def test_an_artefact_knows_its_url_and_sum(tmp_path):
    artefacts = shipped(tmp_path).versions.artefacts
    assert artefacts["crio"].upstream_url("arm64") == (
        "https://storage.googleapis.com/cri-o/artifacts/cri-o.arm64.v1.36.3.tar.gz"
    )
    assert artefacts["crio"].checksum("amd64").startswith("fc2ece7c")
    assert artefacts["crio"].checksum("arm64") is None
    assert artefacts["cilium-chart"].checksum("arm64") == artefacts["cilium-chart"].checksum("amd64")
