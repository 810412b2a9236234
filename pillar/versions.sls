# Every artefact: version, where from, sha256. A sum from the artefact's own host proves that nothing broke on the way,
# not who made it: compare it with a second source before it goes in here. {version} and {arch} are filled in.
kubernetes: 1.36.4    # kubeadm, kubelet and kubectl below are of this version
crio: 1.36.3          # its minor must be the kubelet's

# The sandbox image of every pod, as `kubeadm config images list` names it.
pause_image: registry.k8s.io/pause:3.10.2

artefacts:
  kubeadm:
    version: 1.36.4
    url: "https://dl.k8s.io/release/v{version}/bin/linux/{arch}/kubeadm"
    format: binary
    sha256: {amd64: 10d054585907f2c8bb823c84f6a66b3bd2a474c3d795475f04e9a44f78650fe6}
  kubelet:
    version: 1.36.4
    url: "https://dl.k8s.io/release/v{version}/bin/linux/{arch}/kubelet"
    format: binary
    sha256: {amd64: cf2562db46c48ab84cc3791540778ee7fb1a0a008529adbb434723dd02ed8b4b}
  kubectl:
    version: 1.36.4
    url: "https://dl.k8s.io/release/v{version}/bin/linux/{arch}/kubectl"
    format: binary
    sha256: {amd64: 8b8f088da2dab964f853b38464033b1be15ede2839eca751482357c45abdd05a}
  crio:
    version: 1.36.3
    url: "https://storage.googleapis.com/cri-o/artifacts/cri-o.{arch}.v{version}.tar.gz"
    format: tar.gz
    sha256: {amd64: fc2ece7cc22a505cca5e100438e4e58f7786f17b64467022e2d2019239c88349}
  helm:
    version: 4.2.3
    url: "https://get.helm.sh/helm-v{version}-linux-{arch}.tar.gz"
    format: tar.gz
    sha256: {amd64: e9b88b4ee95b18c706839c28d3a0220e5bc470e9cd9262410c90793c45ff8b7c}
  k9s:
    version: 0.51.0
    url: "https://github.com/derailed/k9s/releases/download/v{version}/k9s_Linux_{arch}.tar.gz"
    format: tar.gz
    sha256:
      amd64: c3752ad51a5a4015a113819c4eeb6e55a4d0e4b8e652494797532f6fc8161dd7
      arm64: 3ee05c82e5f9198928a4e86133608ba6a2c10a2244d6a7789e820f78319d640c
  cilium-cli:
    version: 0.19.7
    url: "https://github.com/cilium/cilium-cli/releases/download/v{version}/cilium-linux-{arch}.tar.gz"
    format: tar.gz
    sha256: {amd64: cd15e0983bf0acc7946cd05d453d1e58376ea92dec2642e745212df2b07d8852}
  etcdctl:
    version: 3.6.16
    url: "https://github.com/etcd-io/etcd/releases/download/v{version}/etcd-v{version}-linux-{arch}.tar.gz"
    format: tar.gz
    sha256: {}
  cilium-chart:
    version: 1.20.1
    url: "https://helm.cilium.io/cilium-{version}.tgz"
    format: binary
    sha256: {any: 06210eef7c23d15f7699c79e2fe3a1ec9c389024c5c5c006ea04022d322449a2}
  metallb-chart:
    version: 0.15.3
    url: "https://github.com/metallb/metallb/releases/download/metallb-chart-{version}/metallb-{version}.tgz"
    format: binary
    sha256: {}    # not known here: until it is, `salt-run cluster.validate` says how to get it
