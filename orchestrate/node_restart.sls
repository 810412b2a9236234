# Nodes restart, with updates of the operating system before if so wished: load balancers and control-plane nodes one at a time, workers by a share.
# Two steps: without "confirm" it says who would restart with whom, and what would move.
#   salt-run state.orchestrate orchestrate.node_restart pillar='{"all": true, "upgrade": true, "share": "25%"}'
#   salt-run state.orchestrate orchestrate.node_restart pillar='{"node": "saw-k8s-w-04", "confirm": true}'
# Pillar: node, nodes, roles or all; upgrade; share (workers at once, 1); confirm; anew (forget how far an earlier run of the same came);
# drain_timeout_s. Order, refusals and steps: saltern/plan_restart.py.

Nobody else is at work, and the definition is valid:
  stage.restart_begun:
    - failhard: True

"It is known who restarts with whom, and what moves":
  stage.restart_planned:
    - failhard: True

Each has restarted, and serves again:
  stage.restarted:
    - failhard: True

The run is recorded:
  stage.end:
    - failhard: True
