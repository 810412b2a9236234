# Undoes keepalived: this load balancer gives the virtual address up, another takes it over; what was there before is back. The package stays.
{%- set node = pillar.saltern %}
keepalived does not run:
  unit.dead:
    - units: [keepalived.service]

What was there before keepalived is back:
  original.given_back:
    - paths: {{ [node.keepalived.config_path, node.keepalived.check.path] | json }}
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]
    - require:
      - unit: keepalived does not run
