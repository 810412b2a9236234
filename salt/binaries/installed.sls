{%- set node = pillar.saltern %}
The artefacts are installed:
  artefact.installed:
    - artefacts: {{ node.artefacts | json }}
    - downloads: {{ node.paths.work }}/downloads
    - records: {{ node.paths.sandbox }}/etc/provisioner/artefacts
