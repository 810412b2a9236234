{%- set operator = pillar.saltern.operator %}
include:
  - kubeconfig.endpoints

The operator has a kubeconfig:
  kubeconfig.installed:
    - name: {{ operator.home }}/.kube/config
    - user: {{ operator.user | json }}
    - group: {{ operator.group | json }}
    - backups: [{{ pillar.saltern.paths.backup | json }}]
    - require:
      - kubeconfig: Every kubeconfig names the load balancer
