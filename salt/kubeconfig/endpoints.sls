Every kubeconfig names the load balancer:
  kubeconfig.endpoints: []
