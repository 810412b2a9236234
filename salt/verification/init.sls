# A web service behind a MetalLB address, which proves that the cluster serves. Applied by the orchestration to one
# healthy control-plane node.
#
# deployed   namespace, replicas and service
# ready      every system pod runs, the replicas run, the service has its address (told in the comment)
# clean      all of that is gone
include:
  - verification.deployed
  - verification.ready
