CRI-O runs:
  unit.running:
    - units: [crio.service]
    - require:
      - file: A reboot clears what CRI-O keeps for one boot
    - watch:
      - crio: CRI-O is configured
      - file: The unit of CRI-O is the sandbox's
