"""What the template of the nodes holds: the packages of a Debian 12 cloud image that a system container needs.

What the product installs itself (iptables, nftables, haproxy, ...) is left out: nodes get it from the lab's mirror.
"""

TEMPLATE_PACKAGES = (
    "systemd",
    "systemd-sysv",
    "systemd-resolved",
    "dbus",
    "kmod",
    "procps",
    "psmisc",
    "util-linux-extra",
    "less",
    "sudo",
    "locales",
    "netbase",
    "iproute2",
    "iputils-ping",
    "ca-certificates",
    "curl",
    "openssl",
    "openssh-server",
    "cloud-init",
    "cloud-guest-utils",
    "python3",
    "python3-venv",
    # What the binaries of the CRI-O bundle are linked with, and the runc that the lab's shim calls.
    "libseccomp2",
    "libglib2.0-0",
    "runc",
)
