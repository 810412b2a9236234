# Undoes kubelet: the service stops, its unit goes. What kubeadm has written belongs to kubeadm's own reset.
{%- set node = pillar.saltern %}
The kubelet does not run:
  unit.dead:
    - units: [kubelet.service]

The unit of the kubelet is gone:
  file.absent:
    - names:
      - {{ node.kubelet.unit }}
      - {{ node.kubelet.drop_in }}
      - {{ node.kubelet.environment_path }}
    - require:
      - unit: The kubelet does not run
