# The cluster's CA, once there is a cluster: from then on HAProxy checks the certificates of the API servers.
# Applied by orchestration after kubeadm init; needs pillar saltern_ca (the certificate, PEM).
include:
  - haproxy

The cluster CA is handed over:
  config_file.managed:
    - name: {{ pillar.saltern.paths.sandbox }}/etc/provisioner/cluster-ca.crt
    - text: {{ pillar.saltern_ca | json }}
    - require_in:
      - config_file: The cluster CA is known to HAProxy
