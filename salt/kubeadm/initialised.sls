include:
  - kubeconfig

The cluster begins on this node:
  kubeadm.initialised:
    - require_in:
      - kubeconfig: The operator has a kubeconfig
