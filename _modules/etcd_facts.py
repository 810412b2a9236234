"""
etcd as its own API tells of it, asked on a control-plane node with that node's certificate.

By etcd's JSON gateway (https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway), not by etcdctl in the etcd pod: it
answers in milliseconds, and needs neither the kubelet nor the API server. Numbers of 64 bits come as text.
"""

import http.client
import json
import ssl
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from salt.exceptions import CommandExecutionError

HOST, PORT = "127.0.0.1", 2379
TIMEOUT_S = 1.5


def own():
    """
    Tell how this node's member is: ``{"id", "leader", "version", "db_mib", "errors": []}``.

    id, leader: hexadecimal, as etcdctl shows them; leader "" when the members cannot agree on one. errors: alarms and
    what the member complains of.

    Raises CommandExecutionError when it does not answer.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 etcd_facts.own
    """
    return parse_status(_ask(HOST, PORT, "POST", "/v3/maintenance/status"))


def parse_status(text):
    """
    Read the answer to /v3/maintenance/status; what :func:`own` gives.

    text
        The answer.

    CLI Example:

    .. code-block:: bash

        salt-call --local etcd_facts.parse_status '{"header": {"member_id": "1"}, "leader": "1"}'
    """
    status = json.loads(text)
    leader = int(status.get("leader", 0))
    return {
        "id": f"{int(status['header']['member_id']):x}",
        "leader": f"{leader:x}" if leader else "",
        "version": status.get("version", "?"),
        "db_mib": round(int(status.get("dbSize", 0)) / 2**20, 1),
        "errors": status.get("errors", []),
    }


def members():
    """
    Tell of every member: ``[{"name", "id", "learner", "healthy", "reason"}]``, sorted by name.

    healthy: it answers /health on its client URL, from here. A member without a name was added and has never started.

    Raises CommandExecutionError when this node's member does not answer, or the members are too few to agree.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 etcd_facts.members
    """
    listed = parse_members(_ask(HOST, PORT, "POST", "/v3/cluster/member/list"))
    with ThreadPoolExecutor(max(len(listed), 1)) as pool:
        # The certificates' paths come from the pillar, which only this thread sees.
        context = _context()
        told = list(pool.map(lambda member: _health(member["urls"], context), listed))
    return [
        {key: member[key] for key in ("name", "id", "learner")} | {"healthy": not reason, "reason": reason}
        for member, reason in zip(listed, told, strict=True)
    ]


def parse_members(text):
    """
    Read the answer to /v3/cluster/member/list: ``[{"name", "id", "learner", "urls"}]``, sorted by name.

    text
        The answer.

    CLI Example:

    .. code-block:: bash

        salt-call --local etcd_facts.parse_members '{"members": []}'
    """
    members = [
        {
            "name": member.get("name", ""),
            "id": f"{int(member['ID']):x}",
            "learner": member.get("isLearner", False),
            "urls": member.get("clientURLs", []),
        }
        for member in json.loads(text)["members"]
    ]
    return sorted(members, key=lambda member: (member["name"], member["id"]))


def _health(urls, context):
    """Why a member is not healthy; "" if it is."""
    if not urls:
        return "it has never started"
    parts = urlsplit(urls[0])
    try:
        answer = json.loads(_request(parts.hostname, parts.port, "GET", "/health", context))
    except (OSError, http.client.HTTPException, ValueError) as err:
        return f"{urls[0]} does not answer: {err}"
    return "" if answer.get("health") == "true" else answer.get("reason") or "it says so itself"


def _ask(host, port, method, path):
    try:
        return _request(host, port, method, path, _context())
    except (OSError, http.client.HTTPException) as err:
        raise CommandExecutionError(
            f"{__opts__['id']}: etcd does not answer on {host}:{port} ({err}): crictl ps -a --name etcd; crictl logs ID"
        ) from err


def _request(host, port, method, path, context):
    """The body of an answer. Raises OSError, HTTPException, also for a status that is not 200."""
    connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
    try:
        connection.request(method, path, body="{}" if method == "POST" else None)
        answer = connection.getresponse()
        body = answer.read().decode()
    finally:
        connection.close()
    # An unhealthy member answers /health with 503 and the reason.
    if answer.status != http.client.OK and path != "/health":
        raise http.client.HTTPException(f"{path}: HTTP {answer.status}: {body.strip()[:200]}")
    return body


def _context():
    """A TLS client with the certificate of this node's member, which is one for clients too (kubeadm makes it so)."""
    keys = __salt__["sandbox.path"]("etc", "kubernetes", "pki", "etcd")
    try:
        context = ssl.create_default_context(cafile=f"{keys}/ca.crt")
        context.load_cert_chain(f"{keys}/server.crt", f"{keys}/server.key")
    except FileNotFoundError as err:
        raise CommandExecutionError(
            f"{__opts__['id']}: no certificate of an etcd member in {keys}: this node has not joined the control plane"
        ) from err
    return context
