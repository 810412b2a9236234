include:
  - metallb.deployed

{%- set metallb = pillar.saltern.charts.metallb %}
MetalLB's controller runs:
  kube.rolled_out:
    - name: {{ metallb.release }}-controller
    - kind: deployment
    - namespace: {{ metallb.namespace | json }}
    - deadline_s: 600
    - require:
      - helm_release: MetalLB is deployed

MetalLB's speaker runs on every node:
  kube.rolled_out:
    - name: {{ metallb.release }}-speaker
    - kind: daemonset
    - namespace: {{ metallb.namespace | json }}
    - deadline_s: 600
    - require:
      - helm_release: MetalLB is deployed

MetalLB's webhook answers:
  kube.endpoint_ready:
    - name: metallb-webhook-service
    - namespace: {{ metallb.namespace | json }}
    - require:
      - kube: MetalLB's controller runs
