# MetalLB, which announces the addresses of LoadBalancer services. Applied by the orchestration to one healthy
# control-plane node.
#
# deployed   its namespace, and the release as defined
# ready      controller, speakers and the webhook that validates pools run
# pools      the address pools and their announcement
# clean      all of that is gone
include:
  - metallb.deployed
  - metallb.ready
  - metallb.pools
