# keepalived on each load balancer of several: one of them has the virtual address, another takes it over.
#   installed   its package
#   configured  the check of the local HAProxy, and the configuration, accepted by keepalived itself before it is put in place
#   running     the service; a changed configuration is reloaded, so that the address stays where it is
# Undone by keepalived.clean.
include:
  - keepalived.installed
  - keepalived.configured
  - keepalived.running
  - recorded
