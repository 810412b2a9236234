{%- set node = pillar.saltern %}
The unit of the kubelet is the sandbox's:
  file.managed:
    - name: {{ node.kubelet.unit }}
    - source: salt://kubelet/files/kubelet.service.j2
    - template: jinja
    - context:
        binary: {{ node.kubelet.binary }}
    - mode: "0644"

The kubelet starts as kubeadm configures it:
  file.managed:
    - name: {{ node.kubelet.drop_in }}
    - source: salt://kubelet/files/10-kubeadm.conf.j2
    - template: jinja
    - context:
        binary: {{ node.kubelet.binary }}
        environment_path: {{ node.paths.sandbox }}/etc/default/kubelet
    - makedirs: True
    - mode: "0644"

The environment of the kubelet is empty:
  file.managed:
    - name: {{ node.paths.sandbox }}/etc/default/kubelet
    - contents:
      - "# Managed by Salt: settings of the kubelet belong into kubelet.config of cluster.sls."
      - KUBELET_EXTRA_ARGS=
    - makedirs: True
    - mode: "0644"
