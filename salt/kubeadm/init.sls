# This node's membership in the cluster. Applied by the orchestration only, never in a highstate, but for static_pods.
#
# joined        the node is a member in its role; one that is none joins (needs pillar saltern_join)
# initialised   the cluster begins on this node: for the one node that the orchestration chose
# static_pods   a member's control plane runs as kubeadm makes it of the definition: in the highstate of its role
# clean         the membership is undone: needs an explicit word, refuses on a healthy member
include:
  - kubeadm.joined
