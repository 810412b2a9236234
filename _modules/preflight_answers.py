"""
What the network's answers mean for a bring-up: one finding a cause. Reads only.
"""

from urllib.parse import urlsplit


def findings(answers):
    """
    Report names that are not resolved and servers that do not answer.

    answers
        What the functions of ``preflight_network.probes`` returned, under the same keys.

    CLI Example: none, it is for Python, with what the functions of ``preflight_network.probes`` returned.
    """
    failed = {key: answer for key, answer in answers.items() if answer and key[0] != "nodes"}
    unknown = {what: reason for (kind, what), reason in failed.items() if kind == "name"}
    # A server without an address answers nothing: one cause, one finding.
    failed = {key: reason for key, reason in failed.items() if urlsplit(key[1]).hostname not in unknown}
    return [
        *_name_findings(unknown),
        *_artefact_findings(failed),
        *_registry_findings(failed),
        *_endpoint_findings(_no_way(answers)),
    ]


def _name_findings(unknown):
    servers = ", ".join(__salt__["preflight_identity.nameservers"]("/etc/resolv.conf")) or "none"
    return [
        _finding(
            "name-not-resolved",
            f"{host} is not resolved ({reason})",
            f"/etc/resolv.conf: {servers}",
            "artefacts or images come from there",
            f"correct cluster.network.dns in pillar/cluster.sls or the server it names; on a node: getent hosts {host}",
        )
        for host, reason in unknown.items()
    ]


def _artefact_findings(failed):
    """One finding for each server and reason."""
    servers = {}
    for (kind, url), reason in failed.items():
        if kind == "artefact":
            servers.setdefault((server(url), reason), []).append(url)
    return [_artefact_finding(place, reason, urls) for (place, reason), urls in servers.items()]


def _artefact_finding(place, reason, urls):
    why = "artefacts come from there"
    if reason.startswith("HTTP "):
        names = ", ".join(url.rpartition("/")[2] for url in urls)
        what = f"{place} answers {reason} for {names}"
        remedy = f"fill the mirror, or correct version and url in pillar/versions.sls; from a node: curl -fI {urls[0]}"
        return _finding("artefact-unreachable", what, urls[0], why, remedy)
    root = f"{urlsplit(urls[0]).scheme}://{place}/"
    remedy = f"start it, or open the way to it (from a node: curl -I {root}), or name a mirror in pillar/cluster.sls "
    remedy += "(artefacts.mirror)"
    return _finding("artefact-unreachable", f"{place} does not answer ({reason})", place, why, remedy)


def _registry_findings(failed):
    """One finding for each server that an allowed registry has no other one beside."""
    refused = {url: reason for (kind, url), reason in failed.items() if kind == "registry"}
    if not refused:
        return []
    asked = __salt__["preflight_network.registries"]()
    unserved = {name: urls for name, urls in asked.items() if all(url in refused for url in urls)}
    by_url = {}
    for name, urls in unserved.items():
        for url in urls:
            by_url.setdefault(url, []).append(name)
    return [
        _finding(
            "registry-unreachable",
            f"{server(url)} does not answer as an image registry ({refused[url]})",
            server(url),
            f"images of {', '.join(names)} come from there",
            f"start it, or open the way to it (from a node: curl -i {url}/v2/), or name a mirror in "
            "pillar/cluster.sls (registries.mirrors)",
        )
        for url, names in by_url.items()
    ]


def _endpoint_findings(unreachable):
    """The shared address; a load balancer's own is one of the nodes'."""
    endpoint = __pillar__["saltern"]["cluster"]["endpoint"]
    place = f"{endpoint['address']}:{endpoint['port']}"
    return [
        _finding(
            "endpoint-unreachable",
            f"the endpoint does not answer ({reason})",
            place,
            "every kubeconfig of this node names it",
            f"on the load balancers: systemctl status keepalived haproxy; from {__opts__['id']}: ip neigh get "
            f"{endpoint['address']} dev DEVICE; open the way to it in the firewalls between",
        )
        for name, _, reason in unreachable
        if not name
    ]


def unreached(answers):
    """
    Give the nodes to which the way is blocked: ``[{"node", "port", "reason"}]``.

    answers
        What the functions of ``preflight_network.probes`` returned.

    CLI Example: none, it is for Python, with what the functions of ``preflight_network.probes`` returned.
    """
    return [{"node": name, "port": port, "reason": reason} for name, port, reason in _no_way(answers) if name]


def _no_way(answers):
    """What ``preflight_network.blocked`` gave; nothing is known of a table so large that it did not come to its end."""
    return answers["nodes", ""] if isinstance(answers["nodes", ""], list) else []


def server(url):
    """
    Give ``HOST:PORT`` of a URL.

    url
        http or https.

    CLI Example:

    .. code-block:: bash

        salt-call --local preflight_answers.server https://dl.k8s.io/release
    """
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or {'http': 80, 'https': 443}[parts.scheme]}"


def _finding(*words):
    return __salt__["preflight.finding"](*words)
