What was applied is recorded:
  last_apply.recorded:
    - order: last
