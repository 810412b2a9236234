"""Rules about options: paths that do not lie in each other's way, ports, registries."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

from saltern import crio
from saltern.problems import Draft, Key, Problem, Rule

DOCKER_HUB = "docker.io"  # what an image name without a registry means


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
    """The API and the ingress frontends listen on different ports of the load balancer."""
    port = draft.cluster.settings.api_port
    if draft.cluster.haproxy.ingress and port in (80, 443):
        rule = "the ingress frontends listen on 80 and 443 of the load balancer"
        reads: tuple[Key, ...] = (("haproxy", "ingress"),)
        yield Problem(("cluster", "api_port"), rule, "write 6443, or set haproxy.ingress to null", port, reads)


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
    images_allowed,
    crio_keys,
)
