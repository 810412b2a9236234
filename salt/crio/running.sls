{%- set node = pillar.saltern %}
{%- set render = salt["slsutil.renderer"] %}
{%- set context = {"default_renderer": "jinja", "sandbox": node.paths.sandbox, "environment_path": node.crio.environment_path} %}
What was in the place of CRI-O's unit is kept:
  original.kept:
    - paths: [/etc/systemd/system/crio.service]
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]

CRI-O runs:
  unit.running:
    - units: [crio.service]
    - files:
      - path: /etc/systemd/system/crio.service
        text: {{ render("salt://crio/files/crio.service.j2", **context) | json }}
    - binary: {{ node.paths.sandbox }}/usr/local/bin/crio
    - in_turn: {{ (node.node.role == "control_plane") | json }}
    - require:
      - original: What was in the place of CRI-O's unit is kept
      - config_file: A reboot clears what CRI-O keeps for one boot
      - crio: CRI-O is configured
