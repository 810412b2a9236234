"""The Lease of turn, kept by a real API server: its refusals are what decides who goes first."""

from __future__ import annotations

from tests.salt_node import Node


def test_the_api_server_lets_one_of_two_have_the_turn(node: Node) -> None:
    module = node._load("_modules", "turn")
    node.salt["kubeadm_facts.api_server_ready"] = lambda _address=None: True
    module.take("restart of crio")
    held = module.holder()
    assert (held["node"], held["reason"], held["expired"]) == (node.opts["id"], "restart of crio", False)
    stale = module._get()
    module.take("renewed")
    assert module._put(stale, "saw-k8s-m-02", "slower") is False
    assert module._put(None, "saw-k8s-m-02", "slower still") is False
    assert module.holder()["reason"] == "renewed"
    module.give_back()
    assert module.holder() is None
    assert module._put(module._get(), "saw-k8s-m-02", "its turn") is True
