# Cilium, the cluster's network. Applied by the orchestration to one healthy control-plane node.
#
# deployed   the release as defined; returns when Helm has applied it
# ready      the agent runs on every node and the operator runs
# node       (on any node) the runtime has taken up the CNI configuration; restarts it only when it has not
# clean      the release is gone
# node_clean (on any node) so is what its agent left there
include:
  - cilium.deployed
  - cilium.ready
