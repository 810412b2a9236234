# Undoes cilium, on a control-plane node: the release. On every node then: cilium.node_clean. What stays, and why: its custom resources and
# their definitions, which Cilium makes itself and operators fill (network policies).
{%- set cilium = pillar.saltern.charts.cilium %}
Cilium is not deployed:
  helm_release.absent:
    - name: {{ cilium.release | json }}
    - namespace: {{ cilium.namespace | json }}
