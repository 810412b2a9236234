The runtime has taken up the CNI configuration:
  cni.loaded: []
