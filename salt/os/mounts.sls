{%- set node = pillar.saltern %}
The sandbox shows at the usual paths:
  bind_mount.mounted:
    - mounts: {{ node.os.bind_mounts | json }}
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]
    - require:
      - directory_tree: The directories of the provisioner and of the sandbox exist
      - swap: Swap is off
