# Undoes cluster: the labels and taints of the table's rows go; those of a role are kubeadm's.
The nodes have their roles' labels and taints alone:
  node_marks.absent:
    - nodes: {{ pillar.saltern.marks | json }}
