{%- set node = pillar.saltern %}
{%- set render = salt["slsutil.renderer"] %}
{%- set context = {"default_renderer": "jinja", "directories": node.os.volatile_directories} %}
The directories of the provisioner and of the sandbox exist:
  directory_tree.present:
    - directories: {{ node.os.directories | json }}
    - require:
      - account: The operator's account exists

A boot makes those again that it empties:
  config_file.managed:
    - name: /etc/tmpfiles.d/saltern-directories.conf
    - text: {{ render("salt://os/files/directories.conf.j2", **context) | json }}
