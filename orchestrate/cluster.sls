# The main job: from the table of pillar/cluster.sls to a running cluster. Running it again is always right.
#   salt-run state.orchestrate orchestrate.cluster [test=True]
# Which steps a stage waits for, and what they wait for: saltern/plan.py. A later stage's steps may begin earlier.

include:
  - orchestrate.stages.ready_to_work
  - orchestrate.stages.brought_up

The run is recorded:
  stage.end:
    - failhard: True
