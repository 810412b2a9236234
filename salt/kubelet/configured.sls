# What kubeadm init or join wrote; before that there is nothing to keep.
The kubelet is configured as defined:
  kubeadm_files.kubelet: []
