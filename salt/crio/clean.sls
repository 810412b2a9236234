# Undoes crio: the service stops, its configuration and unit go. Images and containers in the sandbox stay (they are data; they go with
# <sandbox>/var/lib/containers/storage). Not for a node with pods: drain it first.
{%- set node = pillar.saltern %}
CRI-O does not run:
  unit.dead:
    - units: [crio.service]

The usual paths do not lead to CRI-O:
  link_farm.absent:
    - links:
      - {path: /etc/crictl.yaml, target: "{{ node.paths.sandbox }}/etc/crictl.yaml"}
      - {path: /var/run/crio/crio.sock, target: "{{ node.crio["keys"]["crio.api.listen"] }}"}
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]

The configuration of CRI-O is gone:
  file.absent:
    - names:
      - /etc/tmpfiles.d/saltern-crio.conf
      - {{ node.crio.config_path }}
      - {{ node.crio.environment_path }}
      - {{ node.paths.sandbox }}/etc/containers/policy.json
      - {{ node.paths.sandbox }}/etc/containers/registries.conf
      - {{ node.paths.sandbox }}/etc/containers/registries.conf.d/50-mirrors.conf
      - {{ node.paths.sandbox }}/etc/crictl.yaml
    - require:
      - unit: CRI-O does not run

The unit of CRI-O is what it was before:
  original.given_back:
    - paths: [/etc/systemd/system/crio.service]
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]
    - require:
      - unit: CRI-O does not run

systemd has read what CRI-O's unit is now:
  unit.reread:
    - onchanges:
      - original: The unit of CRI-O is what it was before
