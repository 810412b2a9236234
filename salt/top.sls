# The highstate of a node, by the role that the definition gives it (docs/architecture.md). A node without a role gets nothing.
base:
  saltern:node:role:control_plane:
    - match: pillar
    - os
    - binaries
    - crio
    - kubelet
    - kubeconfig
    - kubeadm.static_pods
    - cluster
  saltern:node:role:worker:
    - match: pillar
    - os
    - binaries
    - crio
    - kubelet
    - kubeconfig.endpoints
  saltern:node:role:load_balancer:
    - match: pillar
    - os
    - haproxy
  # Load balancers that share an address.
  saltern:keepalived:virtual_address:*:
    - match: pillar
    - keepalived
