# What Cilium's agent left on this node, once cilium.clean has taken the agent away. kubeadm.clean does the same for a node that leaves.
Nothing of Cilium is left on this node:
  cni.absent: []
