# HAProxy in front of every API server.
#   installed   its package
#   configured  its configuration, accepted by HAProxy itself before it is put in place
#   running     the service; a changed configuration is reloaded, so that no connection is cut
# Undone by haproxy.clean.
include:
  - haproxy.installed
  - haproxy.configured
  - haproxy.running
  - recorded
