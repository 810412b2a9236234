# The kubeconfigs of a control-plane node.
#
# endpoints   those in /etc/kubernetes name the load balancer; what uses a changed one is restarted
# installed   ~/.kube/config of the operator is the node's admin.conf, 0600, the operator's own
# clean       the operator's file is what it was before
include:
  - kubeconfig.endpoints
  - kubeconfig.installed
  - recorded
