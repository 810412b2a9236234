# The kubelet out of the sandbox, as kubeadm expects it.
#   configured  its unit, kubeadm's drop-in, its environment
#   running     enabled; started once kubeadm has written its configuration
# Undone by kubelet.clean.
include:
  - kubelet.configured
  - kubelet.running
