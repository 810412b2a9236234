HAProxy runs:
  unit.running:
    - units: [haproxy.service]
    - act: reload
    - require:
      - haproxy: HAProxy is configured
