{%- set paths = pillar.saltern.paths %}
Swap is off:
  swap.disabled:
    - backups: ["{{ paths.work }}/backup", "{{ paths.backup }}"]
