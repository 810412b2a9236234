# Undoes binaries: links and installed files go, each only if it is still ours; a kubelet that was put aside is back.
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

The kubelet of before is back:
  original.given_back:
    - paths: [/usr/bin/kubelet]
    - backups: ["{{ node.paths.work }}/backup/usr-bin", "{{ node.paths.backup }}/usr-bin"]

The artefacts are gone:
  artefact.absent:
    - artefacts: {{ node.artefacts | map(attribute="name") | list | json }}
    - records: {{ node.paths.sandbox }}/etc/provisioner/artefacts
