{%- set node = pillar.saltern %}
The commands are in the path:
  link_farm.present:
    - links:
      {%- for artefact in node.artefacts %}
      {%- for link in artefact.links %}
      - {{ link | json }}
      {%- endfor %}
      {%- else %} []
      {%- endfor %}
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]
    - require:
      - artefact: The artefacts are installed

# A second kubelet in the path would be the one that kubeadm asks for its version.
No other kubelet is left:
  original.put_aside:
    - name: /usr/bin/kubelet
    - path: /usr/bin/kubelet
    - backups: ["{{ node.paths.work }}/backup/usr-bin", "{{ node.paths.backup }}/usr-bin"]
