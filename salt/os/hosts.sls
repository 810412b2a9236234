Every node knows the names of the others:
  hosts_file.present:
    - entries: {{ pillar.saltern.os.hosts | json }}
