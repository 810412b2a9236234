The test service is gone:
  manifest.absent:
    - objects: {{ pillar.saltern.verification.manifests | json }}
