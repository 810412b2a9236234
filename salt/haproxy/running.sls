HAProxy runs:
  unit.running:
    - units: [haproxy.service]
    - act: reload
    - packages: [haproxy]
    - require:
      - haproxy: HAProxy is configured
