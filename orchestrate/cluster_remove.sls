# The whole cluster goes, in document 0's order backwards. Two steps: unless "confirm" is the cluster's name, it says what would go.
#   salt-run state.orchestrate orchestrate.cluster_remove
#   salt-run state.orchestrate orchestrate.cluster_remove pillar='{"confirm": "saw-k8s"}'
# Pillar: confirm; keep_machines (take the cluster off them, leave them as they were before). Which steps: saltern/plan_teardown.py.

Nobody else is at work, and the definition is valid:
  stage.teardown_begun:
    - failhard: True

It is known what goes:
  stage.teardown_planned:
    - failhard: True

Services, addresses and Nodes are gone:
  stage.teardown_reached:
    - stage: emptied
    - failhard: True

No node is a member any more:
  stage.teardown_reached:
    - stage: left
    - failhard: True

Every node is as it was before:
  stage.teardown_reached:
    - stage: cleaned
    - failhard: True

The machines are gone:
  stage.teardown_machines_gone:
    - failhard: True

The run is recorded:
  stage.end:
    - failhard: True
