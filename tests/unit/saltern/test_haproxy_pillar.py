"""What a load balancer passes on."""

from __future__ import annotations

from saltern import haproxy
from tests.unit.saltern.definitions import PAIR, shipped

API_SERVERS = [{"name": f"saw-k8s-m-0{number}", "address": f"192.168.100.15{number}:6443"} for number in (1, 2, 3)]


def built(tmp_path, name="saw-k8s-ha-01", cluster=None):
    found = shipped(tmp_path, cluster)
    return haproxy.build(found, found.nodes[name])


def test_the_api_of_every_control_plane_node_behind_the_endpoint(tmp_path):
    assert built(tmp_path) == {
        "frontends": [{"name": "kubernetes-api", "bind": "192.168.100.150:6443", "backend": "kubernetes-api"}],
        "backends": [{"name": "kubernetes-api", "check": "api", "servers": API_SERVERS}],
        "ca_path": "/etc/haproxy/kubernetes-ca.crt",
        "stats": {"bind": "127.0.0.1:8404", "allow": []},
        "socket": "/run/haproxy-stats.sock",
        "alive": None,
    }


def test_with_a_shared_address_each_listens_on_all_of_its_addresses(tmp_path):
    for name in ("saw-k8s-ha-01", "saw-k8s-ha-02"):
        wanted = built(tmp_path, name, PAIR)
        assert wanted["frontends"][0]["bind"] == "*:6443"
        assert wanted["alive"] == "127.0.0.1:8405"


def test_ingress_goes_to_the_workers_node_ports(tmp_path):
    ports = {"haproxy": {"ingress": {"http_node_port": 30080, "https_node_port": 30443}}}
    wanted = built(tmp_path, cluster=ports)
    assert [(front["name"], front["bind"]) for front in wanted["frontends"][1:]] == [
        ("ingress-http", "192.168.100.150:80"),
        ("ingress-https", "192.168.100.150:443"),
    ]
    backend = wanted["backends"][2]
    assert (backend["name"], backend["check"]) == ("ingress-https", "tcp")
    assert [server["address"] for server in backend["servers"]] == [
        f"192.168.100.15{last}:30443" for last in (4, 5, 6, 7)
    ]


def test_every_frontend_has_its_backend(tmp_path):
    ports = {"haproxy": {"ingress": {"http_node_port": 30080, "https_node_port": 30443}}}
    wanted = built(tmp_path, cluster=ports)
    assert [front["backend"] for front in wanted["frontends"]] == [back["name"] for back in wanted["backends"]]


def test_statistics_listen_where_the_definition_says(tmp_path):
    stats = {"bind": "192.168.100.150:8404", "allow": ["192.168.100.0/24"]}
    assert built(tmp_path, cluster={"haproxy": {"stats": stats}})["stats"] == stats
    assert built(tmp_path, cluster={"haproxy": {"stats": None}})["stats"] is None
