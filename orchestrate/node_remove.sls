# Nodes leave the cluster: pods moved, membership ended, machines destroyed. Two steps: without "confirm" it says what would go and move.
#   salt-run state.orchestrate orchestrate.node_remove pillar='{"node": "saw-k8s-w-04"}'
#   salt-run state.orchestrate orchestrate.node_remove pillar='{"node": "saw-k8s-w-04", "confirm": true}'
# Pillar: node or nodes; confirm; force (a dead node: skips only what needs it); drain_timeout_s. Which steps: saltern/plan_remove.py.

Nobody else is at work, and the definition is valid:
  stage.removal_begun:
    - failhard: True

"It is known who leaves, what goes and what moves":
  stage.removal_planned:
    - failhard: True

Their pods have moved:
  stage.removal_reached:
    - stage: emptied
    - failhard: True

Load balancers and etcd do without them:
  stage.removal_reached:
    - stage: dismissed
    - failhard: True

Their machines are gone:
  stage.machines_gone:
    - failhard: True

The cluster has forgotten them:
  stage.removal_forgotten:
    - failhard: True

The run is recorded:
  stage.end:
    - failhard: True
