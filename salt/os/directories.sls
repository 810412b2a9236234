The directories of the provisioner and of the sandbox exist:
  directory_tree.present:
    - directories: {{ pillar.saltern.os.directories | json }}
    - require:
      - account: The operator's account exists
