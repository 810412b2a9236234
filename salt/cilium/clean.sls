{%- set cilium = pillar.saltern.charts.cilium %}
Cilium is not deployed:
  helm_release.absent:
    - name: {{ cilium.release | json }}
    - namespace: {{ cilium.namespace | json }}
