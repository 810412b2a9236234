{%- set node = pillar.saltern %}
The unit of CRI-O is the sandbox's:
  file.managed:
    - name: /etc/systemd/system/crio.service
    - source: salt://crio/files/crio.service.j2
    - template: jinja
    - context:
        sandbox: {{ node.paths.sandbox }}
        environment_path: {{ node.crio.environment_path }}
    - mode: "0644"

A reboot clears what CRI-O keeps for one boot:
  file.managed:
    - name: /etc/tmpfiles.d/saltern-crio.conf
    - source: salt://crio/files/tmpfiles.conf.j2
    - template: jinja
    - context:
        sandbox: {{ node.paths.sandbox }}
        socket: {{ node.crio["keys"]["crio.api.listen"] }}
    - mode: "0644"

The usual paths lead to CRI-O:
  link_farm.present:
    - links:
      - {path: /etc/crictl.yaml, target: "{{ node.paths.sandbox }}/etc/crictl.yaml"}
      - {path: /var/run/crio/crio.sock, target: "{{ node.crio["keys"]["crio.api.listen"] }}"}
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]
