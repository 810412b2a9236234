{%- set metallb = pillar.saltern.charts.metallb %}
MetalLB has no address pools:
  manifest.absent:
    - objects: {{ metallb.manifests | json }}

MetalLB is not deployed:
  helm_release.absent:
    - name: {{ metallb.release | json }}
    - namespace: {{ metallb.namespace | json }}
    - require:
      - manifest: MetalLB has no address pools

MetalLB has no namespace:
  manifest.absent:
    - objects:
        - apiVersion: v1
          kind: Namespace
          metadata:
            name: {{ metallb.namespace | json }}
    - require:
      - helm_release: MetalLB is not deployed
