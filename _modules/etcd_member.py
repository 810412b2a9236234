"""
etcd's members as etcd itself sees them, and the removal of one. Asked through the etcd pod of this control-plane node.
"""

import json

from salt.exceptions import CommandExecutionError

CLIENT_PORT = 2379


def standing():
    """
    Give etcd's members, and which of them answer: ``[{name, id, learner, peer_urls, healthy}]``.

    A member without a name was added and has never started. A learner is not asked: it serves nothing yet.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 etcd_member.standing
    """
    listed = json.loads(_etcdctl(["member", "list", "--write-out=json"]))
    # Its exit code says whether all are well; what it prints says who is.
    health = _asked(["endpoint", "health", "--cluster", "--write-out=json"])
    return parse_standing(listed, parse_health(health["stdout"]))


def parse_health(text):
    """
    Read ``etcdctl endpoint health --cluster --write-out=json``: the client URLs that are healthy.

    text
        What etcdctl printed; nothing at all when it could not even list the endpoints.

    CLI Example:

    .. code-block:: bash

        salt-call --local etcd_member.parse_health '[]'
    """
    line = next((line for line in text.splitlines() if line.startswith("[")), "[]")
    return sorted(item["endpoint"] for item in json.loads(line) if item["health"])


def parse_standing(listed, healthy):
    """
    Put members and their health together.

    listed
        What ``etcdctl member list`` gave, parsed.

    healthy
        Client URLs that answered.

    CLI Example:

    .. code-block:: bash

        salt-call --local etcd_member.parse_standing '{"members": []}' '[]'
    """
    members = [
        {
            "name": member.get("name", ""),
            "id": f"{member['ID']:x}",
            "learner": member.get("isLearner", False),
            "peer_urls": member.get("peerURLs", []),
            "healthy": bool(set(member.get("clientURLs", [])) & set(healthy)),
        }
        for member in listed["members"]
    ]
    return sorted(members, key=lambda member: (member["name"], member["id"]))


def remove(name, address):
    """
    Remove a node's member from etcd. etcd itself refuses when that would leave too few that are connected.

    name
        The node.

    address
        Its IP address: a member that never started has no name yet.

    Returns a sentence; a node without a member is no error. Raises CommandExecutionError while another member is still
    a learner: that node is joining, and etcd changes one member at a time.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 etcd_member.remove saw-k8s-m-03 192.168.100.153
    """
    members = standing()
    member = member_of(members, name, address)
    if member is None:
        return f"{name}: no member of etcd"
    learners = [_title(other) for other in members if other["learner"] and other != member]
    if learners:
        raise CommandExecutionError(
            f"{name}: stays in etcd for now: {', '.join(learners)} is a learner, so another node is joining. "
            "Let it finish (salt-run cluster.status), then run again"
        )
    answer = _asked(["member", "remove", member["id"]])
    # Looked at in any case: an answer that got lost is asked for again, and the second time there is no such member.
    if member_of(standing(), name, address) is None:
        return f"{name}: removed from etcd (member {member['id']})"
    said = f": {__salt__['kube.complaint'](answer['stderr'])}" if answer["retcode"] else " after its removal"
    raise CommandExecutionError(f"{name}: etcd still lists the member {member['id']}{said}")


def _title(member):
    return member["name"] or ", ".join(member["peer_urls"])


def member_of(members, name, address):
    """
    Find the member of a node, by its name or, when it has not started yet, by its address; None when there is none.

    members
        What :func:`standing` gave.

    name, address
        Of the node.

    CLI Example:

    .. code-block:: bash

        salt-call --local etcd_member.member_of '[]' saw-k8s-m-03 192.168.100.153
    """
    by_name = [member for member in members if member["name"] == name]
    nameless = [member for member in members if not member["name"]]
    by_address = [member for member in nameless if any(f"//{address}:" in url for url in member["peer_urls"])]
    return next(iter(by_name + by_address), None)


def _etcdctl(args):
    answer = _asked(args)
    if answer["retcode"]:
        complaint = __salt__["kube.complaint"](answer["stderr"])
        raise CommandExecutionError(f"{__opts__['id']}: etcdctl {' '.join(args[:2])}: {complaint}")
    return answer["stdout"]


def _asked(args):
    """Run etcdctl in the etcd pod of this node; with the certificates that kubeadm put into that pod."""
    keys = __salt__["sandbox.path"]("etc", "kubernetes", "pki", "etcd")
    etcdctl = ["etcdctl", f"--endpoints=https://127.0.0.1:{CLIENT_PORT}", f"--cacert={keys}/ca.crt"]
    etcdctl += [f"--cert={keys}/server.crt", f"--key={keys}/server.key", *args]
    pod = f"etcd-{__pillar__['saltern']['node']['name']}"
    inside = ["--namespace=kube-system", "exec", pod, "--container=etcd", "--", *etcdctl]
    return __salt__["kube.patiently"]("kubectl", inside)
