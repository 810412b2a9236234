{%- set node = pillar.saltern %}
CRI-O is configured:
  crio.configured:
    - sandbox: {{ node.paths.sandbox }}
    - settings: {{ node.crio | json }}

# Pods on CRI-O's own bridge would never move to Cilium's network.
No bridge network is active before Cilium's:
  file.absent:
    - names:
      - {{ node.paths.sandbox }}/etc/cni/net.d/10-crio-bridge.conflist
      - {{ node.paths.sandbox }}/etc/cni/net.d/11-crio-ipv4-bridge.conflist
      - {{ node.paths.sandbox }}/etc/cni/net.d/100-crio-bridge.conflist
