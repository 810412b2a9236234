# Shared by the jobs that work on the whole table: nobody else is at work, the machines are there, nothing stands in the way.
include:
  - orchestrate.stages.begun
  - orchestrate.stages.machines_ready
