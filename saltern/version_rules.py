"""Rules about versions and artefacts: what fits together, what is pinned, where images may come from."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from saltern import artefacts, compatibility
from saltern.parts import Architecture, Artefact
from saltern.problems import Draft, Key, Problem, Rule

FIRST_MINOR_WITH_V1BETA4 = (1, 31)  # kubeadm.k8s.io/v1beta4
KUBERNETES_BINARIES = ("kubeadm", "kubelet", "kubectl")


def minor(version: str) -> tuple[int, int]:
    """A version's first two numbers."""
    first, second, _ = version.split(".")
    return int(first), int(second)


def kubernetes_versions(draft: Draft) -> Iterator[Problem]:
    """kubeadm, kubelet and kubectl are of the cluster's version, CRI-O of its minor."""
    versions = draft.cluster.versions
    wanted, kubernetes_key, crio_key = versions.kubernetes, ("versions", "kubernetes"), ("versions", "crio")
    for name in KUBERNETES_BINARIES:
        found = versions.artefacts.get(name)
        if found and found.version != wanted:
            key = artefact_key(name, "version")
            rule = f"unlike kubernetes = {wanted}: kubeadm, kubelet and kubectl are of one version"
            remedy = f"write {wanted} here with its sha256, or change kubernetes"
            yield Problem(key, rule, remedy, found.version, (kubernetes_key,))
    crio = versions.artefacts.get("crio")
    if crio and crio.version != versions.crio:
        key = artefact_key("crio", "version")
        remedy = f"write {versions.crio} here with its sha256, or change crio"
        yield Problem(key, f"unlike crio = {versions.crio}", remedy, crio.version, (crio_key,))
    if minor(versions.crio) != minor(wanted):
        text = ".".join(str(number) for number in minor(wanted))
        rule = f"CRI-O's minor is unlike the kubelet's ({wanted}): the two speak one version of the CRI"
        yield Problem(crio_key, rule, f"write a {text}.x of CRI-O and its sha256", versions.crio, (kubernetes_key,))
    if minor(wanted) < FIRST_MINOR_WITH_V1BETA4:
        rule = "kubeadm has the configuration v1beta4 from 1.31 on"
        yield Problem(kubernetes_key, rule, "write 1.31.0 or newer", wanted)


def cilium_supports(draft: Draft) -> Iterator[Problem]:
    """The pinned Cilium was tested with this Kubernetes."""
    versions = draft.cluster.versions
    chart = versions.artefacts.get("cilium-chart")
    if chart is None:
        return
    text = compatibility.cilium_doubt(chart.version, versions.kubernetes)
    if text:
        key = artefact_key("cilium-chart", "version")
        remedy = "pin versions that were tested together (docs.cilium.io, Kubernetes Compatibility)"
        yield Problem(key, text, remedy, chart.version, (("versions", "kubernetes"),), warning=True)


def artefact_key(name: str, *below: str) -> Key:
    """The key of an artefact in versions.sls, or of something below it."""
    return ("versions", "artefacts", name, *below)


def artefacts_known(draft: Draft) -> Iterator[Problem]:
    """versions.sls has the artefacts that a node needs, and no others."""
    written = written_artefacts(draft)
    for name in written:
        if name not in artefacts.KINDS:
            remedy = f"{close_to(name)}known here: {', '.join(artefacts.KINDS)}"
            yield Problem(artefact_key(name), "unknown artefact", remedy)
    for name, kind in artefacts.KINDS.items():
        if name not in written and not kind.optional:
            remedy = "add it with version, url, format and sha256"
            yield Problem(artefact_key(name), "the artefact is missing, and nodes need it", remedy)


def close_to(name: str) -> str:
    """A hint at the artefact that was probably meant, or nothing."""
    close = difflib.get_close_matches(name, artefacts.KINDS, n=1)
    return f"did you mean {close[0]}? " if close else ""


def written_artefacts(draft: Draft) -> list[str]:
    """The names in versions.sls, also of artefacts that are wrong."""
    versions = draft.data.get("versions")
    found = versions.get("artefacts") if isinstance(versions, dict) else None
    return list(found) if isinstance(found, dict) else []


def disabled_artefacts(draft: Draft) -> Iterator[Problem]:
    """What is switched off exists, and nodes can do without it."""
    key: Key = ("artefacts", "disabled")
    for name in draft.cluster.artefacts.disabled:
        kind = artefacts.KINDS.get(name)
        if kind is None:
            remedy = f"{close_to(name)}known here: {', '.join(artefacts.KINDS)}"
            yield Problem(key, "there is no such artefact", remedy, name)
        elif not kind.optional:
            yield Problem(key, "nodes cannot do without it", "take it out of the list", name)


def omitted_members(draft: Draft) -> Iterator[Problem]:
    """What an archive lacks is one of its files, and CRI-O can do without it."""
    for name, artefact in draft.cluster.versions.artefacts.items():
        if name not in artefacts.KINDS:
            continue
        members = artefacts.member_names(name, artefact)
        for omitted in artefact.omit:
            key = artefact_key(name, "omit")
            if omitted not in members:
                yield Problem(key, "the archive has no such file", f"known here: {', '.join(members)}", omitted)
            elif name != "crio" or omitted in artefacts.CRIO_NEEDS:
                yield Problem(key, "nodes cannot do without it", "use a build that has it", omitted)


def checksums(draft: Draft) -> Iterator[Problem]:
    """Every artefact that a node fetches has a pinned sum for the node's architecture."""
    cluster = draft.cluster
    for name in artefacts.enabled(cluster):
        artefact, roles = cluster.versions.artefacts[name], artefacts.KINDS[name].roles
        needed = dict.fromkeys(node.arch for node in cluster.kubernetes_nodes if node.role in roles)
        for arch in needed:
            if artefact.checksum(arch) is None:
                yield unpinned(name, artefact, arch)


def unpinned(name: str, artefact: Artefact, arch: Architecture) -> Problem:
    """The problem of an artefact without a sum: how to get one, where to write it."""
    entry = "any" if "{arch}" not in artefact.url else arch
    url = artefact.upstream_url(arch)
    rule = f"no sha256 for {entry}: nothing is installed that cannot be verified"
    remedy = (
        f"type: curl -fLO {url} && sha256sum {url.rpartition('/')[2]}; compare with the vendor's own list, then write "
        f'sha256: {{{entry}: "..."}} for {name} in versions.sls'
    )
    if artefacts.KINDS[name].optional:
        remedy += f", or do without: artefacts.disabled: [{name}] in cluster.sls"
    below: tuple[Key, ...] = (("version",), ("url",), ("sha256", arch), ("sha256", "any"))
    reads = tuple(artefact_key(name, *part) for part in below)
    return Problem(artefact_key(name, "sha256"), rule, remedy, reads=reads)


RULES: tuple[Rule, ...] = (
    kubernetes_versions,
    cilium_supports,
    artefacts_known,
    disabled_artefacts,
    omitted_members,
    checksums,
)
