# The main job: from the table of pillar/cluster.sls to a running cluster. Running it again is always right.
#   salt-run state.orchestrate orchestrate.cluster [test=True]
# Which steps a stage waits for, and what they wait for: saltern/plan.py. A later stage's steps may begin earlier.

include:
  - orchestrate.stages.ready_to_work

"Nodes are prepared: system, binaries, CRI-O, kubelet, HAProxy":
  stage.reached:
    - stage: prepared
    - failhard: True

The control plane has begun, and the load balancers trust it:
  stage.reached:
    - stage: initialised
    - failhard: True

Every node has joined, and Cilium connects them:
  stage.reached:
    - stage: joined
    - failhard: True

All nodes are Ready:
  stage.reached:
    - stage: ready
    - failhard: True

MetalLB hands out addresses:
  stage.reached:
    - stage: announced
    - failhard: True

A test service has its address:
  stage.reached:
    - stage: serving
    - failhard: True

The test service answers from outside the nodes:
  stage.verified:
    - failhard: True

The run is recorded:
  stage.end:
    - failhard: True
