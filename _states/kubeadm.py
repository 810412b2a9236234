"""
Membership in the cluster as states: the first control-plane node, the joining ones, and the way back.
"""

from salt.exceptions import CommandExecutionError


def initialised(name, deadline_s=180):
    """
    This node is a healthy control-plane node of the cluster; if there is no cluster on it yet, it begins one.

    Only for the one node that the orchestration has chosen: on two nodes it would make two clusters.

    name
        For people.

    deadline_s
        Seconds for a member that is there but not well (it may be booting).

    .. code-block:: yaml

        The cluster begins on this node:
          kubeadm.initialised: []
    """
    cluster = __pillar__["saltern"]["cluster"]
    new = f"control plane of {cluster['name']}, Kubernetes {cluster['kubernetes_version']}"
    return _member(name, "initialised", new, deadline_s, _no_obstacle, __salt__["kubeadm.init"])


def joined(name, deadline_s=180):
    """
    This node is a healthy member of the cluster in the role that its pillar says; if it is none yet, it joins.

    A node that is none yet needs pillar ``saltern_join: {minion ID: ciphertext}``, by ``kubeadm.join_material`` of one.

    name
        For people.

    deadline_s
        Seconds for a member that is there but not well (it may be booting).

    .. code-block:: yaml

        This node joins:
          kubeadm.joined: []
    """
    cluster, role = __pillar__["saltern"]["cluster"], __pillar__["saltern"]["node"]["role"]
    material = __pillar__.get("saltern_join", {}).get(__opts__["id"])
    new = f"{role.replace('_', ' ')} of {cluster['name']}, Kubernetes {cluster['kubernetes_version']}"

    def join():
        return __salt__["kubeadm.join"](material)

    return _member(name, "joined", new, deadline_s, lambda: _material_missing(material), join)


def absent(name, confirm=None):
    """
    This node is no member of any cluster: its part of one is destroyed.

    name
        For people.

    confirm
        The minion's ID, as the explicit word, or a list that has it. Refused on a healthy member.

    .. code-block:: yaml

        No cluster on this node:
          kubeadm.absent:
            - confirm: saw-k8s-w-04
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": f"{name}: no member, nothing left of one"}
    try:
        found = __salt__["kubeadm_facts.member_files"]()
        if not found["left"] and not __salt__["kubeadm_facts.unfinished"]():
            return ret
        plan = {"membership": {"old": _membership(__salt__["kubeadm.status"]()), "new": None}}
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"{name}: would be reset and wiped"}
        removed = __salt__["kubeadm.reset"](_word(confirm))
        left = __salt__["kubeadm_facts.member_files"]()["left"]
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": f"{name}: {err}"}
    if left:
        return ret | {"result": False, "comment": f"{name}: still there after the reset: {', '.join(left)}"}
    return ret | {"changes": plan | {"removed": {"old": removed, "new": None}}, "comment": f"{name}: reset and wiped"}


def _word(confirm):
    """The explicit word for this node: of several, one call of which reaches several nodes, its own."""
    if isinstance(confirm, str):
        return confirm
    return __opts__["id"] if __opts__["id"] in (confirm or ()) else None


def _member(name, goal, new, deadline_s, obstacle, act):
    """
    Read, compare, act, read again.

    goal
        The key of ``kubeadm.status`` to make true.

    new
        What the node will be, for people.

    obstacle
        Function that says what stands in the way of the act, or gives None.

    act
        Function that does it.
    """
    ret = {"name": name, "result": True, "changes": {}}
    try:
        before = __salt__["kubeadm.status"]()
        if before[goal] or before["foreign"]:
            return ret | _judged(name, before, deadline_s)
        hindrance = obstacle() or _ports_message(before)
        if hindrance:
            return ret | {"result": False, "comment": f"{name}: {hindrance}"}
        plan = {"membership": {"old": _membership(before), "new": new}}
        if __opts__["test"]:
            return ret | {"result": None, "changes": plan, "comment": f"{name}: would become {new}"}
        act()
        after = __salt__["kubeadm.wait_healthy"](deadline_s)
    except CommandExecutionError as err:
        return ret | {"result": False, "comment": f"{name}: {err}"}
    if not after[goal]:
        return ret | {"result": False, "comment": f"{name}: kubeadm ended well, yet this is {_membership(after)}"}
    return ret | {"changes": plan} | _verdict(name, after)


def _judged(name, before, deadline_s):
    """The verdict on a node that has files of a cluster already; a member that is not well gets its time to boot."""
    if before["foreign"]:
        return {"result": False, "comment": f"{name}: {__salt__['kubeadm.foreign_message'](before['foreign'])}"}
    if before["healthy"] or __opts__["test"]:
        return _verdict(name, before)
    return _verdict(name, __salt__["kubeadm.wait_healthy"](deadline_s))


def _verdict(name, status):
    node = __opts__["id"]
    if status["healthy"]:
        return {"result": True, "comment": f"{name}: {node} is a healthy {_membership(status)}"}
    return {"result": False, "comment": f"{name}: {node} is a member but not well: {'; '.join(status['unhealthy'])}"}


def _membership(status):
    if status["foreign"]:
        return f"member of another cluster ({status['foreign']})"
    if status["unfinished"]:
        return f"half-made {status['unfinished']}"
    if not status["joined"]:
        return None
    return "control-plane node" if status["control_plane"] else "worker"


def _no_obstacle():
    return None


def _material_missing(material):
    if material or __opts__["test"]:
        return None
    node = __opts__["id"]
    return (
        f"{node} is no member and has no join material (pillar saltern_join:{node}), which a member makes at need: "
        "salt-run state.orchestrate orchestrate.cluster"
    )


def _ports_message(before):
    """A half-made start holds its own ports; it is undone first."""
    taken = [] if before["unfinished"] else __salt__["kubeadm_facts.ports_taken"]()
    return f"{__opts__['id']}: {'; '.join(taken)}. Stop it, then run again" if taken else None
