include:
  - metallb.ready

{%- set metallb = pillar.saltern.charts.metallb %}
MetalLB has its address pools:
  manifest.applied:
    - objects: {{ metallb.manifests | json }}
    - require:
      - kube: MetalLB's webhook answers
