# The artefacts of a node: everything that is fetched, verified and put into the sandbox.
#   installed  the artefacts
#   linked     their commands in /usr/local/bin
# Undone by binaries.clean.
include:
  - binaries.installed
  - binaries.linked
  - recorded
