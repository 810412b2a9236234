include:
  - kubeconfig

The cluster begins on this node:
  kubeadm.initialised:
    - require_in:
      - kubeconfig: Every kubeconfig names the load balancer
