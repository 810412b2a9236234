# Undoes kubeconfig: the operator's file is what it was before. Those in /etc/kubernetes are kubeadm's, and go with its reset.
The operator has no kubeconfig of this cluster:
  kubeconfig.absent:
    - name: {{ pillar.saltern.operator.home }}/.kube/config
    - backups: [{{ pillar.saltern.paths.backup | json }}]

No empty directory is left of it:
  directory_tree.absent_if_empty:
    - directories: [{path: {{ pillar.saltern.operator.home }}/.kube}]
    - require:
      - kubeconfig: The operator has no kubeconfig of this cluster
