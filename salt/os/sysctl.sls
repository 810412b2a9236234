{%- set node = pillar.saltern %}
The sysctl profiles are in force:
  sysctl_profile.applied:
    - profiles: {{ node.os.sysctl | json }}
    - obsolete: {{ node.os.obsolete_sysctl | json }}
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]
    - require:
      - kernel_module: The kernel modules are loaded
