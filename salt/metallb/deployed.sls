{%- set metallb = pillar.saltern.charts.metallb %}
MetalLB has its namespace:
  manifest.applied:
    - objects:
        - apiVersion: v1
          kind: Namespace
          metadata:
            name: {{ metallb.namespace | json }}
            labels:
              # The speaker answers ARP on the node's own network.
              pod-security.kubernetes.io/enforce: privileged
              pod-security.kubernetes.io/audit: privileged
              pod-security.kubernetes.io/warn: privileged

MetalLB is deployed:
  helm_release.deployed:
    - name: {{ metallb.release | json }}
    - namespace: {{ metallb.namespace | json }}
    - chart: {{ metallb.chart | json }}
    - version: {{ metallb.version | json }}
    - values: {{ metallb["values"] | json }}
    - require:
      - manifest: MetalLB has its namespace
