# Shared by the jobs that work on the whole table: nobody else is at work, the machines are there, nothing stands in the way.

Nobody else is at work, and the definition is valid:
  stage.begin:
    - failhard: True

The machines of the table run:
  stage.machines:
    - failhard: True

Every minion answers:
  stage.minions_answer:
    - failhard: True

Nothing stands in the way:
  stage.preflight:
    - failhard: True
