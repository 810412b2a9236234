The operator has no kubeconfig:
  kubeconfig.absent:
    - name: {{ pillar.saltern.operator.home }}/.kube/config
