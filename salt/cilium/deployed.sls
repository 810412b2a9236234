{%- set cilium = pillar.saltern.charts.cilium %}
Cilium is deployed:
  helm_release.deployed:
    - name: {{ cilium.release | json }}
    - namespace: {{ cilium.namespace | json }}
    - chart: {{ cilium.chart | json }}
    - version: {{ cilium.version | json }}
    - values: {{ cilium["values"] | json }}
