{%- set operator = pillar.saltern.operator %}
The operator's group exists:
  group.present:
    - name: {{ operator.group | json }}

The operator's user exists:
  user.present:
    - name: {{ operator.user | json }}
    - gid: {{ operator.group | json }}
    - home: {{ operator.home | json }}
    - shell: /bin/bash
    - remove_groups: False
    - require:
      - group: The operator's group exists
