# The cluster's CA, once there is a cluster: from then on HAProxy checks the certificates of the API servers.
# Applied by orchestration after kubeadm init; needs pillar saltern_ca (the certificate, PEM).
include:
  - haproxy

The cluster CA is known to HAProxy:
  file.managed:
    - name: {{ pillar.saltern.haproxy.ca_path }}
    - contents_pillar: saltern_ca
    - mode: "0644"
    - require_in:
      - haproxy: HAProxy is configured
