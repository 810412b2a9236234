# The whole cluster is made anew from the table, with new machines. Two steps: unless "confirm" is the cluster's name, it says what would go.
#   salt-run state.orchestrate orchestrate.cluster_rebuild
#   salt-run state.orchestrate orchestrate.cluster_rebuild pillar='{"confirm": "saw-k8s"}'
# Cut off, the same command goes on: a cluster that it has taken down is not taken down again (saltern/rebuild.py).

include:
  - orchestrate.stages.taken_down
  - orchestrate.stages.machines_ready
  - orchestrate.stages.brought_up

The run is recorded:
  stage.end:
    - failhard: True
