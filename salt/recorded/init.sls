# What a run has applied, written down on the node: salt-run cluster.status compares it with what is. Every room that is applied includes it.
#   written  the record, after all other states
# Undone by recorded.clean.
include:
  - recorded.written
