# Shared by the jobs that work on the whole table: the machines are there, their minions answer, nothing stands in the way.

The machines of the table run:
  stage.machines:
    - failhard: True

Every minion answers:
  stage.minions_answer:
    - failhard: True

Nothing stands in the way:
  stage.preflight:
    - failhard: True
