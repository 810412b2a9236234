# A cluster that is made anew goes first, with its machines. Needs pillar confirm (the cluster's name), else it says what would go.

Nobody else is at work, and the definition is valid:
  stage.rebuild_begun:
    - failhard: True

It is known what goes:
  stage.rebuild_planned:
    - failhard: True

The machines are gone:
  stage.taken_down:
    - failhard: True
