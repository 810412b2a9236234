# Undoes haproxy: the service stops and the package's own configuration is back. The package stays. So does the copy of the CA's public
# certificate, by which a highstate brings all of it back: haproxy.distrusted takes that away, when the cluster itself goes.
{%- set node = pillar.saltern %}
HAProxy does not run:
  unit.dead:
    - units: [haproxy.service]

The configuration of before is back:
  haproxy.restored:
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]
    - require:
      - unit: HAProxy does not run

HAProxy has no cluster CA:
  file.absent:
    - name: {{ node.haproxy.ca_path }}
    - require:
      - unit: HAProxy does not run
