{%- set node = pillar.saltern %}
{#- Not by slsutil.renderer, which takes the first line of a script for its own. #}
{%- set check = salt["cp.get_file_str"]("salt://keepalived/files/check-haproxy") %}
{%- set ours = [node.keepalived.config_path, node.keepalived.check.path] %}
What was there before keepalived is kept:
  original.kept:
    - paths: {{ ours | json }}
    - backups: ["{{ node.paths.work }}/backup", "{{ node.paths.backup }}"]
    - require:
      - os_package: keepalived is installed

keepalived can ask the local HAProxy:
  config_file.managed:
    - name: {{ node.keepalived.check.path }}
    - text: {{ check | json }}
    - mode: "0755"
    - restarts: [keepalived.service]
    - require:
      - original: What was there before keepalived is kept

# Its own check of the configuration wants the script to be there.
keepalived is configured:
  keepalived.configured:
    - settings: {{ node.keepalived | json }}
    - config: {{ node.keepalived.config_path }}
    - require:
      - config_file: keepalived can ask the local HAProxy
