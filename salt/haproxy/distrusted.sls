# Undoes haproxy.trusted: for a load balancer whose cluster is gone. With the CA of a cluster that is no more it would trust no new one.
{%- set node = pillar.saltern %}
The cluster CA is not known to this load balancer:
  file.absent:
    - names:
      - {{ node.haproxy.ca_path }}
      - {{ node.paths.sandbox }}/etc/provisioner/cluster-ca.crt
