The services of the system run:
  unit.running:
    - units: {{ salt["unit.local_names"](pillar.saltern.os.services) | json }}
    - require:
      - os_package: The packages are installed, and containerd is not
