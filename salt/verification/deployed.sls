The test service is deployed:
  manifest.applied:
    - objects: {{ pillar.saltern.verification.manifests | json }}
