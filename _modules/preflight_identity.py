"""
By what others know this node, and how it knows others: addresses, names, identities, resolver. Reads only.
"""

import ipaddress
import json
import socket
import subprocess
from pathlib import Path

from salt.exceptions import CommandExecutionError

LOOPBACK_ONLY = "CoreDNS would ask itself for every name outside the cluster, and stop with 'Loop detected'"
DMI_UUID = "/sys/class/dmi/id/product_uuid"
COMMAND_S = 10


def findings(role, begun):
    """
    Report a node without its address, and a resolver configuration that leads pods nowhere.

    role
        The node's role.
    begun
        Whether an init or join has begun here: then CoreDNS tells how it gets on.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-01 preflight_identity.findings control_plane False
    """
    return [*address(), *(resolver() if role != "load_balancer" and not begun else [])]


def resolver():
    """
    Report a resolver configuration for pods in which no server can be reached from a pod.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-01 preflight_identity.resolver
    """
    if "resolvConf" in __pillar__["saltern"]["kubeadm"].get("kubelet", {}):
        return []  # the operator's word
    path = __salt__["node_facts.resolv_conf"]()
    servers = nameservers(path)
    if any(not _is_loopback(address) for address in servers):
        return []
    what = f"the only DNS servers are {', '.join(servers)}" if servers else "no DNS server is named"
    remedy = "write real servers into cluster.network.dns of pillar/cluster.sls and make the machine anew, or into "
    remedy += f"its network configuration (resolvectl dns); then: cat {path}"
    return [_finding("resolver-loop", what, path, LOOPBACK_ONLY, remedy)]


def _is_loopback(text):
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return True  # not an address: no server


def nameservers(path):
    """
    Read the servers of a resolver configuration (resolv.conf(5)); none when there is no such file.

    path
        The file.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight_identity.nameservers /etc/resolv.conf
    """
    file = Path(path)
    lines = (line.split() for line in (file.read_text() if file.exists() else "").splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]


def address():
    """
    Report that no interface has the address of the node's row.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight_identity.address
    """
    wanted = __pillar__["saltern"]["node"]["address"]
    held = [local for link in links() for local in link["addresses"]]
    if wanted in held:
        return []
    others = ", ".join(local for local in held if not _is_local(local)) or "none"
    why = "certificates, etcd and the kubelet are bound to the address of the row"
    remedy = "correct the row in pillar/cluster.sls, or make the machine anew: "
    remedy += f"salt-cloud -d {__opts__['id']}, then run again"
    what = f"no interface has {wanted}; its addresses: {others}"
    return [_finding("address-missing", what, "ip address", why, remedy)]


def _is_local(text):
    """Whether an address means nothing beyond its own machine or link."""
    address = ipaddress.ip_address(text)
    return address.is_loopback or address.is_link_local


def facts():
    """
    Give by what others know this node.

    Returns ``{"hostname", "machine_id", "product_uuid", "macs": [...], "neighbours": {address: MAC}, "has_endpoint"}``:
    its own hardware addresses, those that it sees behind the addresses of the other nodes, whether it has the
    endpoint's address. What is not known is empty.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight_identity.facts
    """
    pillar = __pillar__["saltern"]
    known = {node["address"] for node in pillar["nodes"]} | {pillar["node"]["gateway"]}
    seen, own = neighbours(_text("/proc/net/arp")), links()
    return {
        "hostname": socket.gethostname(),
        "machine_id": _text("/etc/machine-id"),
        # A container shows its host's.
        "product_uuid": "" if __salt__["node_facts.container"]() else _text(DMI_UUID),
        "macs": own_macs(own, pillar["node"]["address"]),
        "neighbours": {place: mac for place, mac in seen.items() if place in known},
        "has_endpoint": any(pillar["cluster"]["endpoint"]["address"] in link["addresses"] for link in own),
    }


def _text(path):
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def links():
    """
    Give the network interfaces: ``[{"name", "mac", "addresses"}]``, by ``ip``.

    CLI Example:

    .. code-block:: bash

        salt '*' preflight_identity.links
    """
    argv = ["ip", "-json", "address", "show"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_S, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as err:
        raise CommandExecutionError(
            f"{__opts__['id']}: {' '.join(argv)}: {err}: the node's addresses cannot be read; is iproute2 installed?"
        ) from err
    return interfaces(done.stdout)


def interfaces(text):
    """
    Read the output of ``ip -json address show``.

    text
        The output.

    CLI Example:

    .. code-block:: bash

        salt-call --local preflight_identity.interfaces '[]'
    """
    return [
        {
            "name": link["ifname"],
            "mac": link.get("address", ""),
            "addresses": [info["local"] for info in link.get("addr_info", []) if "local" in info],
        }
        for link in json.loads(text)
        if "ifname" in link
    ]


def own_macs(links, address, root="/"):
    """
    Give the hardware addresses behind which a node may be seen: of the interface with its address, and of its cards.

    links
        As :func:`links` gives them.
    address
        The node's address.
    root
        Directory taken for / (tests).

    CLI Example:

    .. code-block:: bash

        salt '*' preflight_identity.own_macs '[]' 192.168.100.151
    """
    devices = Path(root) / "sys/class/net"
    # Cards of a bond may answer by their own addresses; pods' interfaces are no cards.
    own = [link for link in links if address in link["addresses"] or (devices / link["name"] / "device").exists()]
    return sorted({link["mac"] for link in own if link["mac"].strip("0:")})


def neighbours(text):
    """
    Read /proc/net/arp: ``{address: hardware address}`` of the entries that are complete.

    text
        Content of the file.

    CLI Example:

    .. code-block:: bash

        salt-call --local preflight_identity.neighbours ''
    """
    complete = 0x2  # ATF_COM of linux/if_arp.h
    rows = (line.split() for line in text.splitlines()[1:])
    return {row[0]: row[3] for row in rows if len(row) > 3 and int(row[2], 16) & complete}


def _finding(*words):
    return __salt__["preflight.finding"](*words)
