# Shared by jobs that need no request: nobody else is at work.

Nobody else is at work, and the definition is valid:
  stage.begin:
    - failhard: True
