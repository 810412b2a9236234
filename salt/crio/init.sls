# CRI-O out of the sandbox. Its binaries and the bundle's configuration come with the artefact crio (binaries).
#   configured  its configuration, registries, image policy; no network before Cilium's
#   service     what a reboot clears, the usual path of its socket
#   running     its unit and the service
# Undone by crio.clean.
include:
  - crio.configured
  - crio.service
  - crio.running
  - recorded
