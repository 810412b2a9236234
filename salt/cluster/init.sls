# What the cluster's API holds: the same on every node, so one control-plane node sees to it.
#   kept     in the highstate: releases, address pools, labels and taints, if this node is the one that keeps them
#   marked   labels and taints of the nodes, applied by the orchestration to one healthy control-plane node
# Undone by cluster.clean; the releases by their own rooms.
include:
  - cluster.kept
  - recorded
