# Nodes get new machines under the same names and addresses, one after the other. Two steps: without "confirm" it says what would go, move and come.
#   salt-run state.orchestrate orchestrate.node_replace pillar='{"node": "saw-k8s-m-01"}'
#   salt-run state.orchestrate orchestrate.node_replace pillar='{"node": "saw-k8s-m-01", "confirm": true}'
# Pillar: node or nodes; confirm; force (a dead node, or the only one of its role); anew (forget how far an earlier run of the same came);
# drain_timeout_s. Order and refusals: saltern/plan_replace.py; the steps: saltern/plan_remove.py, saltern/plan_add.py.

Nobody else is at work, and the definition is valid:
  stage.replacement_begun:
    - failhard: True

"It is known who is replaced, what goes, what moves and what comes":
  stage.replacement_planned:
    - failhard: True

Each has a new machine, and is what it was:
  stage.replaced:
    - failhard: True

The run is recorded:
  stage.end:
    - failhard: True
