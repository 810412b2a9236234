"""
Take away what a membership leaves on a node beside kubeadm's own files. Only ``kubeadm.reset`` calls this.
"""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

from salt.exceptions import CommandExecutionError

BPF_ROOT = "/sys/fs/bpf"
NETWORK_ROOT = "/sys/class/net"
# Where Cilium keeps what lasts until a reboot, a mount of the cgroup hierarchy among it; below the sandbox, bound here.
RUN_DIRECTORY = "/run/cilium"
MOUNTINFO = "/proc/self/mountinfo"
SYSCTL_FILE = "/etc/sysctl.d/99-zzz-override_cilium.conf"
# Cilium names a pod's link "lxc" and 12 hexadecimal digits; lxcbr0 and the like are others'.
CNI_LINKS = re.compile(r"^(cilium_\w+|lxc_health|lxc[0-9a-f]{12})$")
OUR_CHAINS = re.compile(r"^(OLD_)?CILIUM_|^KUBE-")
COMMAND_TIMEOUT_S = 30
# The os states make the one, the kubelet of a half-made start watches the other; kubeadm makes the rest itself.
KEPT_DIRECTORIES = ("pki", "manifests")


def delete_node():
    """
    Delete this node's Node object if this node may: a control-plane node that still reaches the API.

    A node that joins again under its name is refused while the old Node counts as Ready, which lasts 40 s after its
    kubelet stopped. A worker has no right to delete its Node; its caller does that.

    Returns True when it was deleted.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-m-02 kubeadm_reset.delete_node
    """
    if not Path(__salt__["sandbox.path"]("etc", "kubernetes", "admin.conf")).exists():
        return False
    name = __pillar__["saltern"]["node"]["name"]
    try:
        __salt__["kube.kubectl"](["delete", "node", name, "--ignore-not-found", "--request-timeout=15s"])
    except CommandExecutionError:
        return False  # no API server to ask: a first init that never came up
    return True


def wipe(whole=True):
    """
    Empty the directories of the membership; with ``whole`` also the CNI's configuration, links, BPF and firewall rules.

    The directories themselves stay: CRI-O watches its CNI directory by inotify and does not see a new one of that name.

    Returns the sorted list of what was removed.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-04 kubeadm_reset.wipe
    """
    keep = ("pki",) if whole else KEPT_DIRECTORIES
    removed = []
    for parts in (("etc", "kubernetes"), ("var", "lib", "etcd")):
        removed += empty(__salt__["sandbox.path"](*parts), keep)
    return sorted(removed + (wipe_network() if whole else []))


def wipe_network():
    """
    Take away what the CNI left on this node: its configuration, plugin, links, BPF programs and maps, firewall rules.

    The pods of a node whose network is taken away have none: for one whose Cilium is gone.

    Returns the sorted list of what was removed.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-04 kubeadm_reset.wipe_network
    """
    configuration = empty(__salt__["sandbox.path"]("etc", "cni", "net.d"))
    removed = configuration + _remove_links() + _remove_bpf() + _remove_rules() + _remove_mounts()
    return sorted(removed + _remove_files() + empty(__salt__["sandbox.path"]("var", "run", "cilium")))


def network_left():
    """
    Name what :func:`wipe_network` would remove. Changes nothing.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-04 kubeadm_reset.network_left
    """
    directories = [__salt__["sandbox.path"](*parts) for parts in (("etc", "cni", "net.d"), ("var", "run", "cilium"))]
    held = [path for directory in directories for path in sorted(Path(directory).glob("*"))]
    links = [f"link {name}" for name in _links()]
    rules = [_rules_title(tool) for tool, _ in _ruled()]
    return sorted([str(path) for path in [*held, *_bpf(), *_files()]] + links + _mounts() + rules)


def empty(directory, keep=KEPT_DIRECTORIES):
    """
    Remove all that lies in a directory, and return the paths.

    directory
        Path; one that does not exist is empty.

    keep
        Names of directories in it that are emptied only.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-w-04 kubeadm_reset.empty /opt/sandbox/etc/cni/net.d
    """
    removed = []
    for path in sorted(Path(directory).glob("*")):
        if path.is_dir() and not path.is_symlink():
            if _holds_files(path):
                removed.append(str(path))
            if path.name in keep:
                empty(path, keep)
            else:
                shutil.rmtree(path)
        else:
            path.unlink()
            removed.append(str(path))
    return removed


def _holds_files(directory):
    return any(not path.is_dir() for path in directory.rglob("*"))


def _remove_links():
    """Cilium's devices: cilium_host and its peer, cilium_vxlan, and one lxc... a pod."""
    removed = []
    for name in _links():
        # Deleting one end of a pair takes the other along.
        if Path(NETWORK_ROOT, name).exists():
            _command(["ip", "link", "delete", name])
        removed.append(f"link {name}")
    return removed


def _links():
    return sorted(path.name for path in Path(NETWORK_ROOT).glob("*") if CNI_LINKS.match(path.name))


def _bpf():
    """Cilium's pinned programs and maps."""
    pinned = [Path(BPF_ROOT, "cilium"), *sorted(Path(BPF_ROOT, "tc", "globals").glob("cilium_*"))]
    return [path for path in pinned if path.exists()]


def _files():
    """What Cilium's init containers put beside its configuration: the CNI plugin, and settings that outlive a boot."""
    plugin = Path(__salt__["sandbox.path"]("opt", "cni", "bin", "cilium-cni"))
    return [path for path in (plugin, Path(SYSCTL_FILE)) if path.exists()]


def _remove_files():
    files = _files()
    for path in files:
        path.unlink()
    return [str(path) for path in files]


def _remove_bpf():
    removed = []
    for path in _bpf():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        removed.append(str(path))
    return removed


def _mounts():
    """What is mounted in Cilium's directory, the deepest first."""
    roots = (f"{RUN_DIRECTORY}/", __salt__["sandbox.path"]("var", "run", "cilium") + "/")
    points = __salt__["bind_mount.mount_points"](Path(MOUNTINFO).read_text())
    return sorted((point for point in points if point.startswith(roots)), key=len, reverse=True)


def _remove_mounts():
    removed = []
    # One that was mounted where it is seen twice goes with the other: looked at anew each time.
    while mounts := _mounts():
        _command(["umount", mounts[0]])
        removed.append(mounts[0])
    return removed


def _remove_rules():
    """Cilium's and the kubelet's own chains in the firewall; every other rule stays."""
    removed = []
    for tool, rest in _ruled():
        _command([f"{tool}-restore"], stdin=rest)
        removed.append(_rules_title(tool))
    return removed


def _ruled():
    """``[(iptables or ip6tables, its rules without our chains)]``, where there are such chains."""
    found = []
    for tool in ("iptables", "ip6tables"):
        if shutil.which(f"{tool}-save"):
            before = _command([f"{tool}-save"])
            after = without_our_chains(before)
            found += [(tool, after)] if after != before else []
    return found


def _rules_title(tool):
    return f"{tool} chains of Cilium and the kubelet"


def without_our_chains(text):
    """
    Take the chains CILIUM_* and KUBE-*, and the rules that lead to them, out of what iptables-save wrote.

    text
        Output of iptables-save.

    CLI Example:

    .. code-block:: bash

        salt-call --local kubeadm_reset.without_our_chains ''
    """
    return "".join(line for line in text.splitlines(keepends=True) if not _is_ours(line))


def _is_ours(line):
    if line.startswith(":"):
        return bool(OUR_CHAINS.match(line[1:]))
    words = shlex.split(line)  # a comment of the rule is one word
    chains = [words[at + 1] for at, word in enumerate(words[:-1]) if word in ("-A", "-j", "-g")]
    return any(OUR_CHAINS.match(chain) for chain in chains)


def _command(argv, stdin=None):
    """Run a tool of the operating system and return its output."""
    done = subprocess.run(  # noqa: S603 (fixed words and names of the kernel's, no shell)
        argv, input=stdin, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S
    )
    if done.returncode:
        raise CommandExecutionError(f"{__opts__['id']}: {' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout
