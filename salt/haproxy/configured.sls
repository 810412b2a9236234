{%- set node = pillar.saltern %}
# No pillar of a load balancer holds it; without it HAProxy would take any server for an API server.
The cluster CA is known to HAProxy:
  config_file.kept:
    - name: {{ node.haproxy.ca_path }}
    - copy: {{ node.paths.sandbox }}/etc/provisioner/cluster-ca.crt
    - restarts: [haproxy.service]
    - require:
      - os_package: HAProxy is installed

HAProxy is configured:
  haproxy.configured:
    - settings: {{ node.haproxy | json }}
    - ca_copy: {{ node.paths.sandbox }}/etc/provisioner/cluster-ca.crt
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]
    - require:
      - config_file: The cluster CA is known to HAProxy
