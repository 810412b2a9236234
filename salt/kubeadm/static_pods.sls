# After the kubelet, which has to run them.
The control plane runs as defined:
  kubeadm_files.static_pods: []
