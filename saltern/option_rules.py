"""Rules about options: paths that do not lie in each other's way, ports, registries."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from itertools import permutations

from saltern import crio, haproxy
from saltern.model import Cluster
from saltern.problems import Draft, Key, Problem, Rule

DOCKER_HUB = "docker.io"  # what an image name without a registry means
INGRESS: Key = ("haproxy", "ingress")
STATS: Key = ("haproxy", "stats", "bind")
VIRTUAL: Key = ("cluster", "virtual_address")
API_PORT: Key = ("cluster", "api_port")
EVERY_ADDRESS = ("*", "0.0.0.0")  # as HAProxy writes it  # noqa: S104 - nothing is bound here
LAST_PORT = 65535


def paths_apart(draft: Draft) -> Iterator[Problem]:
    """No root lies in another: emptying one would empty the other."""
    roots = draft.cluster.paths.model_dump()
    for (outer_name, outer), (inner_name, inner) in permutations(roots.items(), 2):
        if inner == outer and inner_name < outer_name:
            continue  # one finding a pair
        if inner == outer or inner.startswith(f"{outer}/"):
            rule = f"lies in paths.{outer_name} = {outer}: emptying that would empty this"
            reads: tuple[Key, ...] = (("paths", outer_name),)
            yield Problem(("paths", inner_name), rule, "write a directory of its own", inner, reads)


def api_port_free(draft: Draft) -> Iterator[Problem]:
    """The API listens on a port of the load balancer that nothing else there has."""
    port = draft.cluster.settings.api_port
    if (other := other_ports(draft.cluster).get(port)) is not None:
        owner, key = other
        yield Problem(API_PORT, f"{owner} of the load balancer", "write 6443, or another port", port, (key,))


def other_ports(cluster: Cluster) -> dict[int, tuple[str, Key]]:
    """What listens on a load balancer beside API and statistics: {port: (who does, the key that has it so)}."""
    ingress = [public for _, public, _ in haproxy.ingress_ports(cluster)]
    told = f"the ingress frontends listen on {' and '.join(map(str, ingress))}"
    ports = dict.fromkeys(ingress, (told, INGRESS))
    if cluster.settings.virtual_address:
        alive = int(haproxy.ALIVE.rpartition(":")[2])
        ports[alive] = (f"HAProxy answers keepalived on {alive}", VIRTUAL)
    return ports


def statistics_port_free(draft: Draft) -> Iterator[Problem]:
    """HAProxy's statistics have a port of their own."""
    if draft.cluster.haproxy.stats is None:
        return
    bind = draft.cluster.haproxy.stats.bind
    port = int(bind.rpartition(":")[2])
    api_port = draft.cluster.settings.api_port
    taken = {api_port: (f"the API listens on {api_port}", API_PORT), **other_ports(draft.cluster)}
    if port in taken:
        owner, key = taken[port]
        yield Problem(STATS, f"{owner} of the load balancer", "write 127.0.0.1:8404", bind, (key,))
    elif not 1 <= port <= LAST_PORT:
        yield Problem(STATS, f"no port: they go from 1 to {LAST_PORT}", "write 127.0.0.1:8404", bind)


def statistics_protected(draft: Draft) -> Iterator[Problem]:
    """HAProxy's statistics are read on the load balancer itself, or by networks that are named.

    They have no password: it would have to stand in the definition, where no secret is.
    """
    stats = draft.cluster.haproxy.stats
    host = stats.bind.rpartition(":")[0] if stats else ""
    if stats is None or is_loopback(host):
        return
    allowed: Key = ("haproxy", "stats", "allow")
    if not stats.allow:
        rule = f"anybody who reaches {stats.bind} could read the statistics"
        remedy = "name the networks that may, like [192.168.100.0/24], or bind 127.0.0.1:8404"
        yield Problem(allowed, rule, remedy, "[]", (STATS,))
    balancers = [str(node.address) for node in draft.cluster.load_balancers]
    if host not in EVERY_ADDRESS and [host] != balancers:
        rule = f"not each load balancer ({', '.join(balancers)}) has this address, so HAProxy would not start"
        remedy = f"write 127.0.0.1:8404, or *:{stats.bind.rpartition(':')[2]}"
        yield Problem(STATS, rule, remedy, stats.bind, draft.reads_roles())


def is_loopback(host: str) -> bool:
    """Whether an address is reached from its own machine alone."""
    try:
        return host == "localhost" or IPv4Address(host).is_loopback
    except ValueError:
        return False


def registry_of(image: str) -> str:
    """The registry that an image comes from.

    >>> registry_of("registry.k8s.io/pause:3.10.2"), registry_of("nginx")
    ('registry.k8s.io', 'docker.io')
    """
    first, slash, _ = image.partition("/")
    named = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return first if named else DOCKER_HUB


def images_allowed(draft: Draft) -> Iterator[Problem]:
    """What the cluster itself runs comes from registries that its nodes run images from."""
    cluster = draft.cluster
    images: list[tuple[Key, str]] = [(("versions", "pause_image"), cluster.versions.pause_image)]
    if cluster.verification.enabled:
        images.append((("verification", "image"), cluster.verification.image))
    for key, image in images:
        registry = registry_of(image)
        allowed = cluster.registries.allowed
        if registry not in allowed and not any(image.startswith(f"{prefix}/") for prefix in allowed):
            rule = f"nodes run no images from {registry}"
            remedy = f"add {registry} to registries.allowed (cluster.sls), or write an image of another registry"
            yield Problem(key, rule, remedy, image, (("registries", "allowed"),))


def crio_keys(draft: Draft) -> Iterator[Problem]:
    """Further CRI-O keys are CRI-O's, and none moves it out of the sandbox."""
    derived = crio.sandbox_keys(draft.cluster.paths.sandbox)
    for name, value in draft.cluster.crio.items():
        key: Key = ("crio", name)
        if name in derived and name != "crio.runtime.default_runtime":
            yield Problem(key, "follows from paths.sandbox", "delete it, or change paths.sandbox", value)
        elif not name.startswith("crio."):
            rule = "not a key of CRI-O's configuration, dotted from its root"
            yield Problem(key, rule, f"write crio.runtime.{name}, or where else CRI-O has it", value)


RULES: tuple[Rule, ...] = (
    paths_apart,
    api_port_free,
    statistics_port_free,
    statistics_protected,
    images_allowed,
    crio_keys,
)
