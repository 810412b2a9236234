include:
  - kubeconfig

This node is a member of the cluster:
  kubeadm.joined:
    - require_in:
      - kubeconfig: Every kubeconfig names the load balancer
