"""Stand-in for the states of the product's components: each part is a line in a file of the minion."""


def made(name, part):
    ret = {"name": name, "result": True, "changes": {}, "comment": "as wanted"}
    if part in __salt__["kubeadm.status"]()["parts"]:
        return ret
    if part == "kubeadm/joined" and not __pillar__["saltern_join"].get(__opts__["id"]):
        return ret | {"result": False, "comment": "no join material for this node"}
    changes = {part: {"old": None, "new": "made"}}
    if __opts__["test"]:
        return ret | {"result": None, "changes": changes, "comment": "would be made"}
    __salt__["kubeadm.record"](part)
    return ret | {"changes": changes, "comment": "made"}
