# Undoes haproxy: the service stops and the package's own configuration is back. The package stays; so does the CA's public certificate,
# which a highstate could not bring back: haproxy.distrusted takes it away, when the cluster itself goes.
{%- set node = pillar.saltern %}
HAProxy does not run:
  unit.dead:
    - units: [haproxy.service]

The configuration of before is back:
  haproxy.restored:
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]
    - require:
      - unit: HAProxy does not run
