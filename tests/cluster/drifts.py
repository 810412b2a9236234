"""What can drift on a node, derived from the very states that are applied to it.

Each state function of the highstate has a generator here (``@drifts_of("crio.configured")``) that reads one state's
arguments and yields drifts: what somebody does by hand, and how to see from outside that it is done, and mended. A
state without one is an error, so a new state is covered or the tests fail with "no drift for state X".

To add a drift, yield one more :class:`Drift`. Drifts of one thing go into different waves, for a wave is done at once.
"""

from __future__ import annotations

import base64
import gzip
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

Chunk = Mapping[str, Any]
Ask = Callable[..., Any]
Generator = Callable[["Node", Chunk], Iterator["Drift"]]

EDITED, REMOVED, DISOWNED = "edited", "removed", "disowned"
# A load balancer out of service: while nobody answers at the endpoint, no node can compare what the API holds. Stopped
# and without its package are two drifts, for the one hides the other.
HALTED, UNINSTALLED = "halted", "uninstalled"
# kubeadm renders files that go in the other waves; a dry run without it can only say that it cannot tell.
UNRENDERED = "unrendered"
WAVES = (EDITED, REMOVED, DISOWNED, UNRENDERED, HALTED, UNINSTALLED)
NOBODY = "65534:65534"
# States that change nothing of a node or a cluster by themselves, and so have nothing that could drift.
WITHOUT_DRIFT = {
    "keeper.told": "tells who keeps what the API holds",
    "kube.endpoint_ready": "waits",
    "kube.rolled_out": "waits",
    "last_apply.recorded": "writes down what a run applied",
    "original.kept": "keeps what was there before the first change",
}
BALANCING = ("haproxy", "keepalived")
# A copy of admin.conf, which may drift itself meanwhile: `seen` must not wait for a server that is not there.
KUBECONFIG = "/run/drift-admin.conf"
KUBECTL = f"KUBECONFIG={KUBECONFIG} kubectl"
# Profiles hold keys that decide whether packets are forwarded at all; a drift of theirs is an outage of its own, which
# the mending is not to be blamed for; and Cilium sets them itself when its agent starts: only where it does not run.
FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
# A value that a release takes without starting pods anew (Cilium) or with a pod that carries no traffic (MetalLB).
RELEASE_VALUES = {"cilium": "k8sClientRateLimit.qps=99", "metallb": "controller.logLevel=debug"}


@dataclass(frozen=True)
class Drift:
    """One thing that somebody does by hand.

    Args:
        state_id: the state that has to mend it.
        what: a phrase for the output.
        wave: with which others it is done at once.
        act: shell, run on the node as root.
        seen: shell whose output shows the thing; as before once it is mended.
        tidy: shell that takes away what the mending rightly leaves (a mask, a comment), or "".
        shown_by_container: whether a system container can have this drift; where not, it may stay without effect.
    """

    state_id: str
    what: str
    wave: str
    act: str
    seen: str
    tidy: str = ""
    shown_by_container: bool = True


@dataclass(frozen=True)
class Node:
    """A node as the generators see it.

    Args:
        name: its minion ID.
        role: its role.
        first: whether it is the first of its role in the table; what would take a second node out of service with it is
            done there alone.
        ask: calls an execution module on it.
    """

    name: str
    role: str
    first: bool
    ask: Ask


_GENERATORS: dict[str, Generator] = {}


def drifts_of(function: str) -> Callable[[Generator], Generator]:
    """Register the generator of a state function."""

    def register(generator: Generator) -> Generator:
        _GENERATORS[function] = generator
        return generator

    return register


def of_node(node: Node, lowstate: Sequence[Chunk]) -> list[Drift]:
    """All drifts of a node, from the low chunks of its highstate. Raises LookupError for a state without generator."""
    found: list[Drift] = []
    for chunk in lowstate:
        function = f"{chunk['state']}.{chunk['fun']}"
        if function in WITHOUT_DRIFT:
            continue
        if function not in _GENERATORS:
            raise LookupError(f"no drift for state {function} ({chunk['__id__']!r}): add a generator to {__name__}")
        found += _GENERATORS[function](node, chunk)
    return found


def file_drifts(chunk: Chunk, path: str, edit: str = "", attributes: bool = True) -> Iterator[Drift]:
    """A managed file edited, removed, and with another owner and mode.

    edit: shell that edits it, by default a line is added; attributes: whether owner and mode are the state's too.
    """
    at, name = shlex.quote(path), PurePosixPath(path).name
    seen = f"stat -c '%F %U:%G %a' {at}; sha256sum < {at}"
    yield Drift(chunk["__id__"], f"{name} edited", EDITED, edit or f"echo '# by hand' >> {at}", seen)
    yield Drift(chunk["__id__"], f"{name} removed", REMOVED, f"rm {at}", seen)
    if attributes:
        act = f"chown {NOBODY} {at}; chmod 0606 {at}"
        yield Drift(chunk["__id__"], f"{name} with another owner and mode", DISOWNED, act, seen)


@drifts_of("account.present")
def _account(node: Node, chunk: Chunk) -> Iterator[Drift]:
    user = shlex.quote(chunk["user"])
    seen = f"getent passwd {user}; id {user}; stat -c %U:%G {shlex.quote(chunk['home'])}"
    yield Drift(chunk["__id__"], "the user's shell changed", EDITED, f"usermod --shell /bin/false {user}", seen)
    gone = f"userdel {user}; groupdel {shlex.quote(chunk['group'])} 2>/dev/null || true"
    yield Drift(chunk["__id__"], "user and group removed", REMOVED, gone, seen)
    # Not by usermod, which would give the files of the home to the other group as well.
    other = f"sed -i 's/^\\({chunk['user']}:[^:]*:[0-9]*\\):[0-9]*:/\\1:100:/' /etc/passwd"
    yield Drift(chunk["__id__"], "the user in another group", DISOWNED, other, seen)


@drifts_of("directory_tree.present")
def _directories(node: Node, chunk: Chunk) -> Iterator[Drift]:
    for item in chunk["directories"]:
        at = shlex.quote(item["path"])
        seen = f"stat -c '%F %U:%G %a' {at}"
        mode = "0711" if int(item["mode"], 8) != 0o711 else "0755"
        yield Drift(chunk["__id__"], f"{item['path']} with another mode", EDITED, f"chmod {mode} {at}", seen)
        yield Drift(chunk["__id__"], f"{item['path']} with another owner", DISOWNED, f"chown {NOBODY} {at}", seen)
    # The others hold something; removing what they hold is another drift.
    empty = next(item["path"] for item in chunk["directories"] if item["path"].endswith(("/unpack", "/logs")))
    yield Drift(chunk["__id__"], f"{empty} removed", REMOVED, f"rmdir {empty}", f"stat -c '%F %U:%G %a' {empty}")


@drifts_of("os_package.settled")
def _packages(node: Node, chunk: Chunk) -> Iterator[Drift]:
    # The last one: the first ones are what others depend on. Not one with a unit, whose drifts are the unit's; a load
    # balancer has no others.
    package = next((name for name in reversed(chunk["packages"]) if name not in ("nftables", "chrony")), None)
    if package is None:
        return
    seen = f"dpkg-query --show --showformat '${{db:Status-Status}} ${{Version}}' {package}"
    remove = f"DEBIAN_FRONTEND=noninteractive dpkg --force-depends --remove {package}"
    wave = UNINSTALLED if package in BALANCING else REMOVED
    yield Drift(chunk["__id__"], f"package {package} removed", wave, remove, seen)


@drifts_of("swap.disabled")
def _swap(node: Node, chunk: Chunk) -> Iterator[Drift]:
    yield Drift(
        chunk["__id__"],
        "a swap line in fstab",
        EDITED,
        "echo '/swap.img none swap sw 0 0' >> /etc/fstab",
        "awk '$1 !~ /^#/ && $3 == \"swap\"' /etc/fstab; swapon --noheadings --show=NAME",
        tidy="sed -i '/swap.img/d' /etc/fstab",
    )
    unit = "dev-drift.swap"
    yield Drift(
        chunk["__id__"],
        "a swap unit",
        REMOVED,
        f"rm -f /etc/systemd/system/{unit}; "
        f"printf '[Swap]\\nWhat=/dev/drift\\n' > /usr/lib/systemd/system/{unit}; systemctl daemon-reload",
        f"test -e /usr/lib/systemd/system/{unit} && readlink /etc/systemd/system/{unit} | grep -v /dev/null; "
        f"test ! -e /usr/lib/systemd/system/{unit} -o -L /etc/systemd/system/{unit} && echo no swap unit",
        tidy=f"rm -f /usr/lib/systemd/system/{unit} /etc/systemd/system/{unit}; systemctl daemon-reload",
    )


@drifts_of("kernel_module.present")
def _modules(node: Node, chunk: Chunk) -> Iterator[Drift]:
    for module in chunk["modules"]:
        yield from file_drifts(chunk, f"/etc/modules-load.d/{module}.conf")


@drifts_of("sysctl_profile.applied")
def _sysctl(node: Node, chunk: Chunk) -> Iterator[Drift]:
    for profile, settings in chunk["profiles"].items():
        yield from file_drifts(chunk, f"/etc/sysctl.d/{profile}.conf")
        for key, value in settings.items():
            if key in FORWARDING and node.role != "load_balancer":
                continue
            at = f"/proc/sys/{key.replace('.', '/')}"
            act = f"echo '{_another(str(value))}' > {at} || true"
            yield Drift(chunk["__id__"], key, EDITED, act, f"cat {at}", shown_by_container=False)
    for profile in chunk["obsolete"][:1]:
        path = f"/etc/sysctl.d/{profile}.conf"
        act = f"echo 'net.core.somaxconn = 128' > {path}"
        yield Drift(chunk["__id__"], f"{profile}.conf is back", EDITED, act, f"cat {path}")


def _another(value: str) -> str:
    """Another value of the same kind: a switch turned, a number one less, of several the last."""
    *others, last = value.split()
    number = int(last)
    return " ".join([*others, str(1 - number if number in (0, 1) else number - 1)])


@drifts_of("hosts_file.present")
def _hosts(node: Node, chunk: Chunk) -> Iterator[Drift]:
    seen = "cat /etc/hosts; stat -c '%U:%G %a' /etc/hosts"
    address = next(iter(chunk["entries"]))
    edit = f"sed -i 's/^{address.replace('.', '[.]')} /192.0.2.1 /' /etc/hosts"
    yield Drift(chunk["__id__"], "another address in the hosts file", EDITED, edit, seen)
    gone = "sed -i '/nodes of the cluster: begin/,/nodes of the cluster: end/d' /etc/hosts"
    yield Drift(chunk["__id__"], "the names removed from the hosts file", REMOVED, gone, seen)
    act = f"chown {NOBODY} /etc/hosts; chmod 0600 /etc/hosts"
    yield Drift(chunk["__id__"], "the hosts file with another owner and mode", DISOWNED, act, seen)


@drifts_of("bind_mount.mounted")
def _mounts(node: Node, chunk: Chunk) -> Iterator[Drift]:
    for item in chunk["mounts"]:
        at = shlex.quote(item["path"])
        edit = f"sed -i 's#^\\({item['source']} {item['path']} none bind\\),nofail#\\1,ro#' /etc/fstab"
        seen = f"grep ' {item['path']} ' /etc/fstab; findmnt --noheadings --output TARGET,FSROOT --mountpoint {at}"
        yield Drift(chunk["__id__"], f"other options for {item['path']} in fstab", EDITED, edit, seen)
        gone = f"sed -i '\\# {item['path']} #d' /etc/fstab"
        # Lazily: what uses it goes on with it. Without its manifests a kubelet would stop the whole control plane.
        manifests = node.role == "control_plane" and item["path"] == "/etc/kubernetes"
        held = item["path"] == "/var/lib/kubelet" or manifests
        unmount = "" if held else f"; umount --lazy {at}"
        yield Drift(chunk["__id__"], f"{item['path']} not in fstab, not mounted", REMOVED, gone + unmount, seen)
    seen = "stat -c '%U:%G %a' /etc/fstab"
    act = f"chown {NOBODY} /etc/fstab; chmod 0600 /etc/fstab"
    yield Drift(chunk["__id__"], "fstab with another owner and mode", DISOWNED, act, seen)


@drifts_of("artefact.installed")
def _artefacts(node: Node, chunk: Chunk) -> Iterator[Drift]:
    for artefact in chunk["artefacts"]:
        # Not what containers are made with: without it they could not even be looked at.
        paths = [file["path"] for file in artefact["files"]]
        path = next((path for path in paths if path.endswith(("/crictl", "/pinns"))), paths[0])
        at = shlex.quote(path)
        seen = f"stat -c '%F %U:%G %a %s' {at}; sha256sum < {at}"
        yield Drift(chunk["__id__"], f"{path} swapped for another of its size", EDITED, swapped(path), seen)
        # Without these the keeper's dry run cannot look at the API, and fails saying so; the others do not need to.
        if not (node.role == "control_plane" and node.first and path.endswith(("/kubectl", "/helm"))):
            wave = UNRENDERED if path.endswith("/kubeadm") else REMOVED
            yield Drift(chunk["__id__"], f"{path} removed", wave, f"rm {at}", seen)
        act = f"chown {NOBODY} {at}; chmod 0555 {at}"
        yield Drift(chunk["__id__"], f"{path} with another owner and mode", DISOWNED, act, seen)


def swapped(path: str) -> str:
    """Shell that puts another file of the same size and times in a file's place; of a program it still runs."""
    at, other = shlex.quote(path), shlex.quote(f"{path}.drift")
    last_byte = f"printf '\\377' | dd of={other} bs=1 seek=$(($(stat -c %s {at}) - 1)) conv=notrunc status=none"
    return f"cp -p {at} {other} && {last_byte} && touch -r {at} {other} && mv {other} {at}"


@drifts_of("link_farm.present")
def _links(node: Node, chunk: Chunk) -> Iterator[Drift]:
    for link in chunk["links"]:
        at = shlex.quote(link["path"])
        seen = f"readlink {at} || stat -c %F {at}"
        yield Drift(chunk["__id__"], f"{link['path']} leads elsewhere", EDITED, f"ln -sfn /dev/null {at}", seen)
        yield Drift(chunk["__id__"], f"{link['path']} removed", REMOVED, f"rm {at}", seen)
        act, tidy = f"rm {at} && echo by hand > {at}", _forget(chunk["backups"], link["path"])
        yield Drift(chunk["__id__"], f"a file in {link['path']}", DISOWNED, act, seen, tidy)


def _forget(backups: Sequence[str], path: str) -> str:
    """Shell that takes away the copy that was kept of a file of these drifts, and no other."""
    copies = [shlex.quote(f"{directory}/{PurePosixPath(path).name}.original") for directory in backups]
    return "; ".join(f"grep -qsx 'by hand' {copy} && rm {copy}" for copy in copies) + "; true"


@drifts_of("file.absent")
def _absent(node: Node, chunk: Chunk) -> Iterator[Drift]:
    at = shlex.quote(chunk["name"])
    # Cilium renames the configuration of any other network as soon as it sees one: then there is nothing left to mend.
    sees = not chunk["name"].endswith(".conflist")
    act = f"echo '{{}}' > {at}; sleep 0.2"
    tidy = "" if sees else f"rm -f {at}.cilium_bak"
    yield Drift(chunk["__id__"], f"{chunk['name']} is there", EDITED, act, f"test -e {at} && echo there", tidy, sees)


@drifts_of("original.put_aside")
def _put_aside(node: Node, chunk: Chunk) -> Iterator[Drift]:
    at, tidy = shlex.quote(chunk["path"]), _forget(chunk["backups"], chunk["path"])
    seen = f"test -e {at} && echo there"
    yield Drift(chunk["__id__"], f"{chunk['path']} is there", EDITED, f"echo by hand > {at}", seen, tidy)


@drifts_of("config_file.managed")
def _config_file(node: Node, chunk: Chunk) -> Iterator[Drift]:
    yield from file_drifts(chunk, chunk["name"])


@drifts_of("config_file.kept")
def _kept_file(node: Node, chunk: Chunk) -> Iterator[Drift]:
    yield from file_drifts(chunk, chunk["name"])


@drifts_of("crio.configured")
def _crio(node: Node, chunk: Chunk) -> Iterator[Drift]:
    config = chunk["settings"]["config_path"]
    for path in node.ask("crio.wanted", chunk["sandbox"], chunk["settings"]):
        key = f"sed -i 's/^default_runtime = .*/default_runtime = \"by-hand\"/' {config}"
        yield from file_drifts(chunk, path, edit=key if path == config else "")


@drifts_of("unit.running")
def _units(node: Node, chunk: Chunk) -> Iterator[Drift]:
    for unit in chunk["units"]:
        seen = f"systemctl show --property ActiveState,UnitFileState,LoadState {unit}"
        if "binary" in chunk:
            yield _another_program(chunk, unit)
        mask = f"ln -sf /dev/null /etc/systemd/system/{unit} && systemctl daemon-reload"
        if chunk.get("packages") in (["haproxy"], ["keepalived"]):
            yield Drift(chunk["__id__"], f"{unit} disabled", EDITED, f"systemctl --quiet disable {unit}", seen)
            stop = f"systemctl stop {unit}; {mask}"
            yield Drift(chunk["__id__"], f"{unit} stopped and masked", HALTED, stop, seen)
            continue
        if not _keeps_ready(node, unit):
            # Time synchronisation does not run in a container, whose clock is the host's.
            runs = not unit.startswith("chrony")
            yield Drift(chunk["__id__"], f"{unit} stopped", EDITED, f"systemctl stop {unit}", seen, "", runs)
        yield Drift(chunk["__id__"], f"{unit} disabled", REMOVED, f"systemctl --quiet disable {unit}", seen)
        masked = f"{seen}; readlink /etc/systemd/system/{unit}"
        yield Drift(chunk["__id__"], f"{unit} masked", DISOWNED, mask, masked)
        for file in chunk.get("files", []):
            yield from _unit_file(chunk, unit, file["path"])


def _keeps_ready(node: Node, unit: str) -> bool:
    """Whether a unit has to run for a dry run and the run after it to choose the same keeper: a node that is Ready."""
    return node.role == "control_plane" and node.first and unit in ("kubelet.service", "crio.service")


def _another_program(chunk: Chunk, unit: str) -> Drift:
    """The unit started with another program. The artefact's state puts the file back; this one sees what runs."""
    act = f"{swapped(chunk['binary'])}; systemctl restart {unit}; sleep 1"
    seen = f"sha256sum < /proc/$(systemctl show --property MainPID --value {unit})/exe"
    return Drift(chunk["__id__"], f"{unit} runs another program", DISOWNED, act, seen)


def _unit_file(chunk: Chunk, unit: str, path: str) -> Iterator[Drift]:
    """A file of a unit. The unit's own is disowned with its content: later a mask takes its place."""
    at, own = shlex.quote(path), PurePosixPath(path).name == unit
    edit = f"echo '# by hand' >> {at}; systemctl daemon-reload"
    edit += f"; chown {NOBODY} {at}; chmod 0606 {at}" if own else ""
    yield from file_drifts(chunk, path, edit, attributes=not own)


@drifts_of("kubeadm_files.kubelet")
def _kubelet_files(node: Node, chunk: Chunk) -> Iterator[Drift]:
    for path in node.ask("kubeadm_files.kubelet"):
        name = PurePosixPath(path).name
        edits = {"config.yaml": f"echo 'maxPods: 7' >> {path}", "kubeadm-flags.env": f"sed -i 's/\"$/ --v=4\"/' {path}"}
        yield from file_drifts(chunk, path, edit=edits.get(name, ""))


@drifts_of("kubeconfig.endpoints")
def _endpoints(node: Node, chunk: Chunk) -> Iterator[Drift]:
    for path in node.ask("kubeconfig_endpoints.found"):
        seen = f"grep server: {path}"
        act = f"sed -i 's#server: .*#server: https://192.0.2.1:6443#' {path}"
        yield Drift(chunk["__id__"], f"{PurePosixPath(path).name} names another server", EDITED, act, seen)


@drifts_of("kubeconfig.installed")
def _operators_kubeconfig(node: Node, chunk: Chunk) -> Iterator[Drift]:
    yield from file_drifts(chunk, chunk["name"])


@drifts_of("kubeadm_files.static_pods")
def _static_pods(node: Node, chunk: Chunk) -> Iterator[Drift]:
    for path in node.ask("kubeadm_files.static_pods"):
        name = PurePosixPath(path).stem
        # These go out of service by it: on one node, or the drift itself would be the outage.
        if name in ("etcd", "kube-apiserver") and not node.first:
            continue
        # Not by sed --in-place: the kubelet would take its temporary file for one more manifest.
        flag = f"sed 's/^    - {name}$/&\\n    - --v=1/' {path} > /run/drift.yaml && cp /run/drift.yaml {path}"
        edited, removed, disowned = file_drifts(chunk, path, edit="" if name == "etcd" else flag)
        yield edited
        if name == "kube-scheduler":
            yield removed
        yield disowned


@drifts_of("haproxy.configured")
def _haproxy(node: Node, chunk: Chunk) -> Iterator[Drift]:
    path = "/etc/haproxy/haproxy.cfg"
    server = chunk["settings"]["backends"][0]["servers"][-1]["name"]
    edit = f"sed -i '/server {server} /d' {path}; systemctl reload haproxy; chown {NOBODY} {path}; chmod 0606 {path}"
    edited, removed = file_drifts(chunk, path, edit, attributes=False)
    yield edited
    # In another wave than its package, which would not start without it.
    yield replace(removed, wave=DISOWNED)


@drifts_of("keepalived.configured")
def _keepalived(node: Node, chunk: Chunk) -> Iterator[Drift]:
    path = chunk["config"]
    edit = f"sed -i 's/priority .*/priority 99/' {path}; systemctl reload keepalived; chown {NOBODY} {path}"
    edited, removed = file_drifts(chunk, path, edit, attributes=False)
    yield edited
    # In another wave than its package, which would not start without it.
    yield replace(removed, wave=DISOWNED)


@drifts_of("helm_release.deployed")
def _release(node: Node, chunk: Chunk) -> Iterator[Drift]:
    name, namespace = chunk["name"], chunk["namespace"]
    if name not in RELEASE_VALUES:
        raise LookupError(f"no drift for release {name}: add a harmless value of it to RELEASE_VALUES of {__name__}")
    helm = f"KUBECONFIG={KUBECONFIG} HOME=/root helm --namespace {namespace}"
    options = f"--reuse-values --force-conflicts --set {RELEASE_VALUES[name]} --output json"
    act, seen = f"{helm} upgrade {name} {chunk['chart']} {options} > /dev/null", f"{helm} get values {name}"
    yield Drift(chunk["__id__"], f"{name}: {RELEASE_VALUES[name]}", EDITED, act, seen)


SHOWN = "--output=jsonpath='{.spec}{.metadata.labels}'"


@drifts_of("manifest.applied")
def _objects(node: Node, chunk: Chunk) -> Iterator[Drift]:
    for item in chunk["objects"]:
        kind, name = item["kind"], item["metadata"]["name"]
        namespace = item["metadata"].get("namespace")
        where = f"{kind.lower()} {name}" + (f" --namespace {namespace}" if namespace else "")
        seen = f"{KUBECTL} get {where} {SHOWN}"
        if kind == "IPAddressPool":
            # Added to, for MetalLB takes no address away that is in use.
            patch = '[{"op": "add", "path": "/spec/addresses/-", "value": "192.0.2.1-192.0.2.2"}]'
            act = f"{KUBECTL} patch {where} --type=json --patch='{patch}'"
            yield Drift(chunk["__id__"], f"addresses added to pool {name}", EDITED, act, seen)
        elif kind == "Namespace":
            label, value = next(iter(item["metadata"]["labels"].items()))
            act = f"{KUBECTL} label {where} --overwrite {label}=baseline"
            yield Drift(chunk["__id__"], f"{label} of namespace {name} changed from {value}", EDITED, act, seen)
            act = f"{KUBECTL} label {where} {label}-"
            yield Drift(chunk["__id__"], f"{label} of namespace {name} removed", REMOVED, act, seen)
        else:
            yield Drift(chunk["__id__"], f"{kind} {name} deleted", REMOVED, f"{KUBECTL} delete {where}", seen)


@drifts_of("node_marks.as_defined")
def _marks(node: Node, chunk: Chunk) -> Iterator[Drift]:
    for name, marks in list(chunk["nodes"].items())[:1]:
        seen = f"{KUBECTL} get node {name} --output=jsonpath='{{.metadata.labels}}{{.spec.taints}}'"
        label = next(iter(marks["labels"]))
        act = f"{KUBECTL} label node {name} --overwrite {label}=by-hand"
        yield Drift(chunk["__id__"], f"{label} of {name} changed", EDITED, act, seen)
        act = f"{KUBECTL} label node {name} {label}-"
        yield Drift(chunk["__id__"], f"{label} of {name} removed", REMOVED, act, seen)
        taint = marks["taints"][0]
        act = f"{KUBECTL} taint node {name} {taint['key']}:{taint['effect']}-"
        yield Drift(chunk["__id__"], f"taint {taint['key']} of {name} removed", DISOWNED, act, seen)


def script(drifts: Sequence[Drift], *parts: str) -> str:
    """Shell that does parts of drifts, one after the other, and tells of each: ``PART NUMBER EXIT-CODE BASE64``.

    parts: of ``act``, ``seen`` and ``tidy``; one may come twice, and is then told as ``seen0`` and ``seen2``.
    """
    lines = ["export LC_ALL=C PATH=/opt/sandbox/bin:/opt/sandbox/usr/local/bin:$PATH"]
    lines.append(f"install -m 0600 /etc/kubernetes/admin.conf {KUBECONFIG} 2>/dev/null")
    for place, part in enumerate(parts):
        for number, drift in enumerate(drifts):
            wanted = shlex.quote(getattr(drift, part) or "true")
            lines.append(f"out=$(bash -c {wanted} 2>&1 | base64 -w0; exit ${{PIPESTATUS[0]}})")
            lines.append(f"echo {part}{place} {number} $? $out")
    lines.append(f"rm -f {KUBECONFIG}")
    return "\n".join(lines)


def told(output: str) -> dict[str, dict[int, tuple[int, str]]]:
    """What a script has told: ``{part and its place: {number of the drift: (exit code, output)}}``."""
    found: dict[str, dict[int, tuple[int, str]]] = {}
    for row in (line.split() for line in output.splitlines() if line.strip()):
        text = base64.b64decode("".join(row[3:])).decode(errors="replace")
        found.setdefault(row[0], {})[int(row[1])] = (int(row[2]), text)
    return found


def command(text: str) -> str:
    """A script as one command line that neither a shell nor Salt's parsing of arguments changes."""
    return f"echo {base64.b64encode(gzip.compress(text.encode())).decode()} | base64 -d | gunzip | bash"
