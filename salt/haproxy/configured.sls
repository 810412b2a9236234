{%- set node = pillar.saltern %}
HAProxy is configured:
  haproxy.configured:
    - settings: {{ node.haproxy | json }}
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]
    - require:
      - os_package: HAProxy is installed
