"""What the lab's artefacts are made of, as data: Go modules, binaries, archives, charts and images.

Versions are written `{name}` and filled in from pillar/versions.sls (see `component_versions`); what that file does not
pin, because the product never fetches it by itself, stands in PINS. A changed line here builds just what depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Versions of what pillar/versions.sls does not name. The images of a control plane are those that kubeadm asks for
# (`kubeadm config images list`); the build compares this list with kubeadm's own and refuses when they differ.
PINS: dict[str, str] = {
    "etcd": "3.6.8",
    "etcd-image": "3.6.8-0",
    "coredns": "1.14.2",
    "pause": "3.10.2",
    "cni-plugins": "1.9.1",
    "cri-tools": "1.36.0",
    "frr-k8s": "0.0.21",
    # Built from {kubernetes}'s sources, published under the tag that the definition's verification names.
    "agnhost": "2.53",
}

# Which entry of versions.sls says the version of a component.
VERSION_SOURCES: dict[str, str] = {
    "kubernetes": "kubeadm",
    "crio": "crio",
    "helm": "helm",
    "k9s": "k9s",
    "cilium": "cilium-chart",
    "metallb": "metallb-chart",
    "etcdctl": "etcdctl",
    "cri-tools": "crictl",
    "dasel": "dasel",
}


def component_versions(definition: Mapping[str, Any]) -> dict[str, str]:
    """Return the version of each component: PINS, overlaid with what versions.sls says.

    Args:
        definition: versions.sls as parsed: {"kubernetes": "1.36.4", "artefacts": {name: {"version": ...}}}.

    Returns:
        {component: version}, and "kubernetes-staging", the version of Kubernetes' own libraries (1.36.4 -> 0.36.4).
    """
    artefacts = definition["artefacts"]
    found = {name: str(artefacts[source]["version"]) for name, source in VERSION_SOURCES.items() if source in artefacts}
    versions = {**PINS, **found}
    versions.setdefault("etcdctl", versions["etcd"])
    major, minor, patch = versions["kubernetes"].split(".")
    return {
        **versions,
        "kubernetes-staging": f"0.{minor}.{patch}",
        "kubernetes-major": major,
        "kubernetes-minor": minor,
    }


# -- Go --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GoModule:
    """A module of our own that requires a component's module, so that the component's packages can be built.

    Args:
        name: its name below `lab/`.
        requires: {module path: version}; the first one is the component itself.
        replaces: {module path: "path version"} where the component's own go.mod cannot be taken as it is.
    """

    name: str
    requires: Mapping[str, str]
    replaces: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GoBinary:
    """One program: a package of a GoModule and the way it is built.

    Args:
        module: name in GO_MODULES.
        package: import path of its main package.
        variables: {import path.variable: value} set by the linker.
        tags: build tags.
        cgo: True where it links against C libraries.
    """

    module: str
    package: str
    variables: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    cgo: bool = False


# k8s.io/kubernetes requires these at v0.0.0, meaning directories of its own repository: their published versions
# take that place.
KUBERNETES_STAGING = (
    "api",
    "apiextensions-apiserver",
    "apimachinery",
    "apiserver",
    "cli-runtime",
    "client-go",
    "cloud-provider",
    "cluster-bootstrap",
    "code-generator",
    "component-base",
    "component-helpers",
    "controller-manager",
    "cri-api",
    "cri-client",
    "cri-streaming",
    "streaming",
    "csi-translation-lib",
    "dynamic-resource-allocation",
    "endpointslice",
    "externaljwt",
    "kms",
    "kube-aggregator",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "metrics",
    "mount-utils",
    "pod-security-admission",
    "sample-apiserver",
)

GO_MODULES: dict[str, GoModule] = {
    module.name: module
    for module in (
        GoModule(
            "kubernetes",
            {"k8s.io/kubernetes": "v{kubernetes}"},
            {f"k8s.io/{name}": f"k8s.io/{name} v{{kubernetes-staging}}" for name in KUBERNETES_STAGING},
        ),
        GoModule("crio", {"github.com/cri-o/cri-o": "v{crio}"}),
        GoModule("cni", {"github.com/containernetworking/plugins": "v{cni-plugins}"}),
        GoModule("crictl", {"sigs.k8s.io/cri-tools": "v{cri-tools}"}),
        GoModule("etcd", {"go.etcd.io/etcd/server/v3": "v{etcd}"}),
        GoModule("etcdutl", {"go.etcd.io/etcd/etcdutl/v3": "v{etcd}"}),
        GoModule("etcdctl", {"go.etcd.io/etcd/etcdctl/v3": "v{etcdctl}"}),
        GoModule("coredns", {"github.com/coredns/coredns": "v{coredns}"}),
        GoModule("helm", {"helm.sh/helm/v4": "v{helm}"}),
        GoModule("metallb", {"go.universe.tf/metallb": "v{metallb}"}),
        # Two of Cilium 1.20.1's own pins are no longer published: a newer gobgp and an older mcs-api stand in.
        GoModule(
            "cilium",
            {"github.com/cilium/cilium": "v{cilium}", "github.com/osrg/gobgp/v4": "v4.7.0"},
            {"sigs.k8s.io/mcs-api/controllers": "sigs.k8s.io/mcs-api/controllers v0.0.0-20260403094305-4b9911b73f14"},
        ),
        GoModule("k9s", {"github.com/derailed/k9s": "v{k9s}"}),
        GoModule("dasel", {"github.com/tomwright/dasel/v2": "v{dasel}"}),
    )
}

_KUBERNETES_VERSION = {
    "k8s.io/component-base/version.gitVersion": "v{kubernetes}",
    "k8s.io/component-base/version.gitMajor": "{kubernetes-major}",
    "k8s.io/component-base/version.gitMinor": "{kubernetes-minor}",
    "k8s.io/component-base/version.gitTreeState": "clean",
}
_CILIUM_VERSION = {"github.com/cilium/cilium/pkg/version.ciliumVersion": "{cilium}"}
_CILIUM_COMMANDS = {
    "cilium-agent": "daemon",
    "cilium-dbg": "cilium-dbg",
    "cilium-cni": "plugins/cilium-cni",
    "cilium-mount": "tools/mount",
    "cilium-sysctlfix": "tools/sysctlfix",
    "cilium-health": "cilium-health",
    "cilium-health-responder": "cilium-health/responder",
    "hubble-relay": "hubble-relay",
}
# All of the plugins that the upstream CRI-O bundle holds.
CNI_PLUGINS: dict[str, str] = {
    name: f"{kind}/{name}"
    for kind, names in {
        "main": ("bridge", "dummy", "host-device", "ipvlan", "loopback", "macvlan", "ptp", "tap", "vlan"),
        "ipam": ("dhcp", "host-local", "static"),
        "meta": ("bandwidth", "firewall", "portmap", "sbr", "tuning", "vrf"),
    }.items()
    for name in names
}

GO_BINARIES: dict[str, GoBinary] = {
    **{
        name: GoBinary("kubernetes", f"k8s.io/kubernetes/cmd/{name}", _KUBERNETES_VERSION)
        for name in ("kubeadm", "kubectl", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    },
    "agnhost": GoBinary("kubernetes", "k8s.io/kubernetes/test/images/agnhost"),
    "crio": GoBinary(
        "crio",
        "github.com/cri-o/cri-o/cmd/crio",
        tags=("containers_image_openpgp", "exclude_graphdriver_btrfs", "seccomp"),
        cgo=True,
    ),
    **{
        name: GoBinary("cni", f"github.com/containernetworking/plugins/plugins/{path}")
        for name, path in CNI_PLUGINS.items()
    },
    "crictl": GoBinary("crictl", "sigs.k8s.io/cri-tools/cmd/crictl"),
    "etcd": GoBinary("etcd", "go.etcd.io/etcd/server/v3"),
    "etcdutl": GoBinary("etcdutl", "go.etcd.io/etcd/etcdutl/v3"),
    "etcdctl": GoBinary("etcdctl", "go.etcd.io/etcd/etcdctl/v3"),
    "coredns": GoBinary("coredns", "github.com/coredns/coredns"),
    "helm": GoBinary("helm", "helm.sh/helm/v4/cmd/helm"),
    "metallb-controller": GoBinary("metallb", "go.universe.tf/metallb/controller"),
    "metallb-speaker": GoBinary("metallb", "go.universe.tf/metallb/speaker"),
    **{
        name: GoBinary("cilium", f"github.com/cilium/cilium/{path}", _CILIUM_VERSION)
        for name, path in _CILIUM_COMMANDS.items()
    },
    "cilium-operator-generic": GoBinary(
        "cilium", "github.com/cilium/cilium/operator", _CILIUM_VERSION, tags=("ipam_provider_operator",)
    ),
    "k9s": GoBinary("k9s", "github.com/derailed/k9s"),
    "dasel": GoBinary("dasel", "github.com/tomwright/dasel/v2/cmd/dasel"),
}

# -- Files for the mirror --------------------------------------------------------------------------


@dataclass(frozen=True)
class Plain:
    """The binary itself, as the vendor publishes it."""

    binary: str


@dataclass(frozen=True)
class Packed:
    """A tar.gz of binaries: {path in the archive: binary}."""

    members: Mapping[str, str]


@dataclass(frozen=True)
class Bundle:
    """The CRI-O bundle (lab/artefacts/bundle.py)."""


@dataclass(frozen=True)
class Chart:
    """A Helm chart found in a module's sources.

    Args:
        module: the module's path and version.
        directory: where the chart lies in it.
        name: the chart's name, its directory in the archive.
        vendored: {dependency: (module and version, directory)}: charts that the release carries under charts/.
    """

    module: str
    directory: str
    name: str
    vendored: Mapping[str, tuple[str, str]] = field(default_factory=dict)


FileRecipe = Plain | Packed | Bundle | Chart

# Every artefact of pillar/versions.sls is here or in UNAVAILABLE; a test compares them.
FILES: dict[str, FileRecipe] = {
    "kubeadm": Plain("kubeadm"),
    "kubelet": Plain("kubelet"),
    "kubectl": Plain("kubectl"),
    "crio": Bundle(),
    "helm": Packed({"linux-{arch}/helm": "helm"}),
    "k9s": Packed({"k9s": "k9s"}),
    "crictl": Packed({"crictl": "crictl"}),
    "dasel": Plain("dasel"),
    "etcdctl": Packed({"etcd-v{etcdctl}-linux-{arch}/etcdctl": "etcdctl"}),
    "cilium-chart": Chart("github.com/cilium/cilium@v{cilium}", "install/kubernetes/cilium", "cilium"),
    "metallb-chart": Chart(
        "go.universe.tf/metallb@v{metallb}",
        "charts/metallb",
        "metallb",
        {"frr-k8s": ("github.com/metallb/frr-k8s@v{frr-k8s}", "charts/frr-k8s")},
    ),
}

# What cannot be built here, and why; the lab's overlay switches these off where the vendor's site does not answer.
UNAVAILABLE: dict[str, str] = {
    "cilium-cli": "github.com/cilium/cilium-cli publishes no module that can be built",
}

# Members of the upstream CRI-O bundle that a built one lacks: Debian's crun 1.8 is too old for CRI-O 1.36 ("unknown
# version specified"), and conmon-rs is not a Go program.
BUNDLE_OMITS: tuple[str, ...] = ("crun", "conmonrs")

# -- Images ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Image:
    """A container image of one or two layers.

    Args:
        registry: host that its users name.
        repository: name in the registry.
        tag: with placeholders.
        binaries: {path in the image: name in GO_BINARIES, or "pause"}.
        entrypoint: the program that runs by default; empty where its users always name one.
        base: True for the layer of lab/artefacts/cilium_base.py below the binaries.
        sources: ((module, directory or file in it, path in the image), ...).
        user: numeric user and group, empty for root.
        low_ports: whether its programs may listen below port 1024 without being root, as CoreDNS does.
        env: {name: value} of its environment.
    """

    registry: str
    repository: str
    tag: str
    binaries: Mapping[str, str]
    entrypoint: tuple[str, ...] = ()
    base: bool = False
    sources: tuple[tuple[str, str, str], ...] = ()
    user: str = ""
    low_ports: bool = False
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def site(self) -> str:
        """The registry's own URL, asked whether it answers."""
        return f"https://{self.registry}"


# Cilium's programs start an agent for gops, which wants a directory to write into; without a home, they end.
_GOPS = {"GOPS_CONFIG_DIR": "/tmp"}  # noqa: S108 -- a path in the image
_CILIUM_MODULE = "github.com/cilium/cilium@v{cilium}"

IMAGES: tuple[Image, ...] = (
    *(
        Image("registry.k8s.io", name, "v{kubernetes}", {f"usr/local/bin/{name}": name}, (name,))
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    ),
    # kubeadm names `etcd` in the static pod; operators and our tests exec etcdctl and etcdutl.
    Image(
        "registry.k8s.io",
        "etcd",
        "{etcd-image}",
        {f"usr/local/bin/{name}": name for name in ("etcd", "etcdctl", "etcdutl")},
    ),
    Image(
        "registry.k8s.io",
        "coredns/coredns",
        "v{coredns}",
        {"coredns": "coredns"},
        ("/coredns",),
        user="65532:65532",
        low_ports=True,
    ),
    Image("registry.k8s.io", "pause", "{pause}", {"pause": "pause"}, ("/pause",), user="65535:65535"),
    Image("registry.k8s.io", "e2e-test-images/agnhost", "{agnhost}", {"agnhost": "agnhost"}, ("/agnhost",)),
    Image(
        "quay.io",
        "cilium/cilium",
        "v{cilium}",
        {f"usr/bin/{name}": name for name in _CILIUM_COMMANDS if name not in ("cilium-cni", "hubble-relay")}
        | {"opt/cni/bin/cilium-cni": "cilium-cni", "opt/cni/bin/loopback": "loopback"},
        base=True,
        sources=(
            (_CILIUM_MODULE, "bpf", "var/lib/cilium/bpf"),
            (_CILIUM_MODULE, "images/cilium/init-container.sh", "init-container.sh"),
            (_CILIUM_MODULE, "plugins/cilium-cni/install-plugin.sh", "install-plugin.sh"),
            (_CILIUM_MODULE, "plugins/cilium-cni/cni-uninstall.sh", "cni-uninstall.sh"),
        ),
    ),
    Image(
        "quay.io",
        "cilium/operator-generic",
        "v{cilium}",
        {"usr/bin/cilium-operator-generic": "cilium-operator-generic"},
        ("/usr/bin/cilium-operator-generic",),
        env=_GOPS,
    ),
    Image(
        "quay.io",
        "cilium/hubble-relay",
        "v{cilium}",
        {"usr/bin/hubble-relay": "hubble-relay"},
        ("/usr/bin/hubble-relay", "serve"),
        user="65532:65532",
        env=_GOPS,
    ),
    Image("quay.io", "metallb/controller", "v{metallb}", {"controller": "metallb-controller"}, ("/controller",)),
    Image("quay.io", "metallb/speaker", "v{metallb}", {"speaker": "metallb-speaker"}, ("/speaker",)),
)

# -- Debian packages -------------------------------------------------------------------------------

# What the product installs on its nodes (its OS preparation, HAProxy, time) and a pair of load balancers needs.
NODE_PACKAGES: tuple[str, ...] = (
    "iptables",
    "gpg",
    "conntrack",
    "socat",
    "ebtables",
    "nftables",
    "haproxy",
    "keepalived",
    "chrony",
)

# Debian packages whose programs go into the CRI-O bundle: {member: (package, path in it)}.
BUNDLE_PACKAGES: dict[str, tuple[str, str]] = {
    "conmon": ("conmon", "./usr/bin/conmon"),
    "runc": ("runc", "./usr/sbin/runc"),
}
