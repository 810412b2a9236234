# Shared by the jobs that bring a cluster up, on machines that are ready. What each stage waits for: saltern/plan.py.

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
