include:
  - verification.deployed

{%- set verification = pillar.saltern.verification %}
{%- for chart in pillar.saltern.charts.values() %}
Every pod of {{ chart.namespace }} is ready:
  kube.pods_ready:
    - name: {{ chart.namespace | json }}
    - deadline_s: 600
    - require:
      - manifest: The test service is deployed
{%- endfor %}

The test service's replicas run:
  kube.rolled_out:
    - name: {{ verification.service | json }}
    - kind: deployment
    - namespace: {{ verification.namespace | json }}
    - deadline_s: 300
    - require:
      - manifest: The test service is deployed

The test service has an address:
  kube.load_balancer_ready:
    - name: {{ verification.service | json }}
    - namespace: {{ verification.namespace | json }}
    - require:
      - manifest: The test service is deployed
