include:
  - cilium.deployed

{%- set cilium = pillar.saltern.charts.cilium %}
Cilium's agent runs on every node:
  kube.rolled_out:
    - name: cilium
    - kind: daemonset
    - namespace: {{ cilium.namespace | json }}
    - deadline_s: 600
    - require:
      - helm_release: Cilium is deployed

Cilium's operator runs:
  kube.rolled_out:
    - name: cilium-operator
    - kind: deployment
    - namespace: {{ cilium.namespace | json }}
    - deadline_s: 600
    - require:
      - helm_release: Cilium is deployed
