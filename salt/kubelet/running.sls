The kubelet runs as soon as kubeadm has configured it:
  unit.running:
    - units: [kubelet.service]
    - needs: /var/lib/kubelet/config.yaml
    - watch:
      - file: The unit of the kubelet is the sandbox's
      - file: The kubelet starts as kubeadm configures it
      - file: The environment of the kubelet is empty
