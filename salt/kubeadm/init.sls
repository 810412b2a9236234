# This node's membership in the cluster. Applied by the orchestration only, never in a highstate.
#
# joined        the node is a member in its role; one that is none joins (needs pillar saltern_join)
# initialised   the cluster begins on this node: for the one node that the orchestration chose
# clean         the membership is undone: needs an explicit word, refuses on a healthy member
include:
  - kubeadm.joined
