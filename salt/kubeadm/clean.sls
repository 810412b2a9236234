# Document 0's ResetKubeadmStep and CleanupK8sDataStep. The explicit word is the node's own name (or a list of names that has it):
#   salt NODE state.apply kubeadm.clean pillar='{"saltern_confirm_reset": "NODE"}'
No membership in a cluster is left on this node:
  kubeadm.absent:
    - confirm: {{ pillar.get("saltern_confirm_reset") | json }}

No lock of kubeadm is left:
  file.absent:
    - name: {{ pillar.saltern.paths.sandbox }}/etc/provisioner/kubeadm.lock
    - require:
      - kubeadm: No membership in a cluster is left on this node
