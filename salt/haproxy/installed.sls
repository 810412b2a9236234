{%- set node = pillar.saltern %}
HAProxy is installed:
  os_package.settled:
    - packages: [haproxy]
    - absent: []
    - refresh: {{ node.os.refresh | json }}
    - upgrade: False
    - marker: {{ node.paths.sandbox }}/etc/provisioner/packages.json
