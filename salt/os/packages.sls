{%- set node = pillar.saltern %}
The packages are installed, and containerd is not:
  os_package.settled:
    - packages: {{ node.os.packages | json }}
    - absent: {{ node.os.absent_packages | json }}
    - refresh: {{ node.os.refresh | json }}
    - upgrade: {{ node.os.upgrade | json }}
    - marker: {{ node.paths.sandbox }}/etc/provisioner/packages.json
    - require:
      - directory_tree: The directories of the provisioner and of the sandbox exist
