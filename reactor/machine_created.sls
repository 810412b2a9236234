# A machine was made (salt/cloud/NAME/created, fired by the driver once, when its minion has answered): a new worker joins the cluster.
# In the master's configuration (docs/production.md):
#   reactor: [{salt/cloud/*/created: [/srv/saltern/reactor/machine_created.sls]}]
# What comes with the event decides nothing: the runner looks the name up in the table. A minion could fire such an event, too.
A new worker joins the cluster:
  runner.machine.created:
    - args:
      - name: {{ data.get("name", "") | string | json }}
      - job: {{ data.get("job", "") | string | json }}
