include:
  - kubelet.configured

{%- set node = pillar.saltern %}
{%- set render = salt["slsutil.renderer"] %}
{%- set context = {"default_renderer": "jinja", "binary": node.kubelet.binary, "environment_path": node.kubelet.environment_path} %}
What was in the place of the kubelet's units is kept:
  original.kept:
    - paths: [{{ node.kubelet.unit | json }}, {{ node.kubelet.drop_in | json }}]
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]

The kubelet runs as soon as kubeadm has configured it:
  unit.running:
    - units: [kubelet.service]
    - files:
      - path: {{ node.kubelet.unit | json }}
        text: {{ render("salt://kubelet/files/kubelet.service.j2", **context) | json }}
      - path: {{ node.kubelet.drop_in | json }}
        text: {{ render("salt://kubelet/files/10-kubeadm.conf.j2", **context) | json }}
      - path: {{ node.kubelet.environment_path | json }}
        text: {{ render("salt://kubelet/files/kubelet.environment", **context) | json }}
    - needs: {{ node.paths.sandbox }}{{ node.kubelet.config_path }}
    - binary: {{ node.kubelet.binary }}
    - in_turn: {{ (node.node.role == "control_plane") | json }}
    - require:
      - kubeadm_files: The kubelet is configured as defined
      - original: What was in the place of the kubelet's units is kept
