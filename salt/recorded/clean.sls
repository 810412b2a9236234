# Undoes recorded. Until the next run nobody can tell what has drifted, and cluster.status says so.
There is no record of what was applied:
  file.absent:
    - name: {{ salt["last_apply.path"]() | json }}
