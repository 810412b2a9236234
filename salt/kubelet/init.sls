# The kubelet out of the sandbox, as kubeadm expects it.
#   running     its unit, kubeadm's drop-in, its environment; enabled; started once kubeadm has written its configuration
# Undone by kubelet.clean.
include:
  - kubelet.running
