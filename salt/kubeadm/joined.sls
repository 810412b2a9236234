include:
  - kubeconfig

This node is a member of the cluster:
  kubeadm.joined:
    - require_in:
      - kubeconfig: The operator has a kubeconfig
