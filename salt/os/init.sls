# The operating system of a node, in the order of document 0.
#   account      the operator's user and group
#   directories  working, provisioner and sandbox directories; those in /tmp again after a reboot
#   packages     index and upgrade (first bring-up only), packages in, containerd out
#   swap         off now and after a reboot
#   modules      kernel modules, before sysctl: the net.bridge keys come with one
#   services     nftables, time synchronisation
#   sysctl       the three profiles
#   hosts        the names that a node needs: its own, the load balancers', the control plane's
#   mounts       bind mounts into the sandbox
# Undone by os.clean.
include:
  - os.account
  - os.directories
  - os.packages
  - os.swap
  - os.modules
  - os.services
  - os.sysctl
  - os.hosts
  - os.mounts
  - recorded
