{%- set node = pillar.saltern %}
keepalived is installed:
  os_package.settled:
    - packages: [keepalived]
    - absent: []
    - refresh: {{ node.os.refresh | json }}
    - upgrade: False
    - marker: {{ node.paths.sandbox }}/etc/provisioner/packages.json
