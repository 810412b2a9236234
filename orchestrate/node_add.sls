# Nodes join a cluster that runs: their machines are made (salt-cloud -p worker NAME) and have rows of the table.
#   salt-run state.orchestrate orchestrate.node_add pillar='{"node": "saw-k8s-w-05"}'
#   salt-run state.orchestrate orchestrate.node_add pillar='{"nodes": ["saw-k8s-m-04", "saw-k8s-m-05"]}'
# Pillar: node or nodes; wait_s (how long to wait behind another operation). Which steps: saltern/plan_add.py.
# A reactor calls this for new workers (reactor/machine_created.sls), with automatic: true.

Nobody else is at work, and the definition is valid:
  stage.addition_begun:
    - failhard: True

The minions of the new nodes answer:
  stage.newcomers_answer:
    - failhard: True

Nothing stands in their way:
  stage.addition_checked:
    - failhard: True

"They are prepared: system, binaries, CRI-O, kubelet":
  stage.addition_reached:
    - stage: prepared
    - failhard: True

They have joined, and who has to know of them does:
  stage.addition_reached:
    - stage: joined
    - failhard: True

They are Ready:
  stage.addition_reached:
    - stage: ready
    - failhard: True

The run is recorded:
  stage.end:
    - failhard: True
