The nodes have their labels and taints:
  node_marks.as_defined:
    - nodes: {{ pillar.saltern.marks | json }}
