The node knows the names that it needs:
  hosts_file.present:
    - entries: {{ pillar.saltern.os.hosts | json }}
