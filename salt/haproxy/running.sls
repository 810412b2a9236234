HAProxy runs:
  unit.running:
    - units: [haproxy.service]
    - act: reload
    - watch:
      - haproxy: HAProxy is configured
