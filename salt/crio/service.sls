{%- set node = pillar.saltern %}
{%- set render = salt["slsutil.renderer"] %}
{%- set socket = node.crio["keys"]["crio.api.listen"] %}
{%- set context = {"default_renderer": "jinja", "sandbox": node.paths.sandbox, "socket": socket} %}
A reboot clears what CRI-O keeps for one boot:
  config_file.managed:
    - name: /etc/tmpfiles.d/saltern-crio.conf
    - text: {{ render("salt://crio/files/tmpfiles.conf.j2", **context) | json }}

The usual paths lead to CRI-O:
  link_farm.present:
    - links:
      - {path: /etc/crictl.yaml, target: "{{ node.paths.sandbox }}/etc/crictl.yaml"}
      - {path: /var/run/crio/crio.sock, target: "{{ socket }}"}
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]
