# The kubelet out of the sandbox, as kubeadm expects it.
#   configured  what kubeadm wrote for it at init or join
#   running     its unit, kubeadm's drop-in, its environment; enabled; started once kubeadm has written its configuration
# Undone by kubelet.clean.
include:
  - kubelet.configured
  - kubelet.running
  - recorded
