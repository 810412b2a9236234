# Undoes kubelet: the service stops, its unit goes. What kubeadm has written belongs to kubeadm's own reset.
{%- set node = pillar.saltern %}
The kubelet does not run:
  unit.dead:
    - units: [kubelet.service]

The environment of the kubelet is gone:
  file.absent:
    - name: {{ node.kubelet.environment_path }}
    - require:
      - unit: The kubelet does not run

The units of the kubelet are what they were before:
  original.given_back:
    - paths: [{{ node.kubelet.unit }}, {{ node.kubelet.drop_in }}]
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]
    - require:
      - unit: The kubelet does not run

No empty directory of drop-ins is left:
  directory_tree.absent_if_empty:
    - directories: [{path: {{ salt["file.dirname"](node.kubelet.drop_in) }}}]
    - require:
      - original: The units of the kubelet are what they were before

systemd has read what the kubelet's unit is now:
  unit.reread:
    - onchanges:
      - original: The units of the kubelet are what they were before
