# The package's unit starts nothing without a configuration.
keepalived runs:
  unit.running:
    - units: [keepalived.service]
    - act: reload
    - needs: {{ pillar.saltern.keepalived.config_path }}
    - packages: [keepalived]
    - require:
      - keepalived: keepalived is configured
