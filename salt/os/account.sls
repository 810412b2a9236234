{%- set operator = pillar.saltern.operator %}
The operator's account exists:
  account.present:
    - user: {{ operator.user | json }}
    - group: {{ operator.group | json }}
    - home: {{ operator.home | json }}
