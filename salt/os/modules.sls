{%- set node = pillar.saltern %}
The kernel modules are loaded:
  kernel_module.present:
    - modules: {{ node.os.modules | json }}
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]
