# The administrator's kubeconfig for the operator of a control-plane node.
#
# installed   ~/.kube/config is the node's admin.conf, 0600, the operator's own
# clean       that file is gone
include:
  - kubeconfig.installed
