{%- set operator = pillar.saltern.operator %}
The operator has a kubeconfig:
  kubeconfig.installed:
    - name: {{ operator.home }}/.kube/config
    - user: {{ operator.user | json }}
    - group: {{ operator.group | json }}
