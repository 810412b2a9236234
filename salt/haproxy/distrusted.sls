# Undoes haproxy.trusted: for a load balancer whose cluster is gone. With the CA of a cluster that is no more it would trust no new one.
The cluster CA is not known to HAProxy:
  file.absent:
    - name: {{ pillar.saltern.haproxy.ca_path }}
