# Undoes binaries: links and installed files go, each only if it is still ours. A /usr/bin/kubelet that was removed comes back with its package.
{%- set node = pillar.saltern %}
The commands are out of the path:
  link_farm.absent:
    - links:
      {%- for artefact in node.artefacts %}
      {%- for link in artefact.links %}
      - {{ link | json }}
      {%- endfor %}
      {%- else %} []
      {%- endfor %}
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]

The artefacts are gone:
  artefact.absent:
    - artefacts: {{ node.artefacts | map(attribute="name") | list | json }}
    - records: {{ node.paths.sandbox }}/etc/provisioner/artefacts
