"""The short names of everything that a preflight can find: stable, so that a runbook can be named after each.

Nodes report most of them (``code`` in what ``_modules/preflight*.py`` return), :mod:`saltern.preflight` and
:mod:`saltern.readiness` the rest. A code is never given another meaning; tests hold this list against the code.
"""

CODES: dict[str, str] = {
    # the minion
    "minion-key-missing": "The master has no accepted key of the minion",
    "minion-name-taken": "Another machine uses the minion's name",
    "minion-silent": "The minion does not answer",
    # the machine
    "wrong-os": "The operating system is not one that Saltern prepares",
    "wrong-architecture": "The processor is of another architecture than the table's row says",
    "cpus-too-few": "The machine has fewer CPUs than its row or kubeadm wants",
    "memory-too-small": "The machine has less memory than its row or kubeadm wants",
    "disk-full": "Too little room or too few inodes are free",
    "disk-too-small": "The root file system is much smaller than its row says",
    "disk-read-only": "A file system is mounted read-only",
    "kernel-too-old": "The kernel is older than Cilium supports",
    "kernel-module-missing": "The kernel has a module neither loaded, nor built in, nor to load",
    "kernel-feature-missing": "The kernel was built without something that Kubernetes or Cilium needs",
    "cgroup-unsuitable": "The cgroup hierarchy is not one that the kubelet runs on",
    "clock-skew": "A clock is further off than the definition allows",
    "package-manager-busy": "A package manager is at work",
    "package-manager-interrupted": "dpkg was interrupted",
    # who it is
    "name-clash": "Two machines have one host name",
    "machine-id-clash": "Two machines have one machine ID",
    "mac-clash": "Two machines have one hardware address",
    "address-clash": "Another machine answers for the node's address",
    "address-missing": "The node does not have the address of its row",
    "foreign-cluster": "The node holds state of another cluster",
    "port-taken": "Another program holds a port that the node needs",
    # what it reaches
    "name-not-resolved": "A name that the node needs is not resolved",
    "resolver-loop": "The resolver configuration for pods names only the node itself",
    "artefact-unreachable": "An artefact cannot be fetched",
    "registry-unreachable": "An image registry does not answer",
    "endpoint-unreachable": "The way to the cluster's endpoint is blocked",
    "node-unreachable": "The way between two nodes is blocked",
}
