#!/usr/bin/env bash
# The bring-up by hand: what a person who knows every step types over ssh, on booted empty machines, from the same mirror
# and registry as the product. The baseline of `make bench`; plain paths, no checks, no second run.
# Prints one line a stage: SECONDS<TAB>STAGE, seconds since the start.
# Needs the lab's shell (eval "$(make -s lab-env)") and HANDRUN_IGNORE, the kubeadm preflight errors that the lab's machine needs ignored.
set -euo pipefail

endpoint=192.168.100.150
mirror=http://192.168.100.1:8080
registry=192.168.100.1:5000
masters=(151 152 153)
workers=(154 155 156 157)
declare -A name=([151]=saw-k8s-m-01 [152]=saw-k8s-m-02 [153]=saw-k8s-m-03
  [154]=saw-k8s-w-01 [155]=saw-k8s-w-02 [156]=saw-k8s-w-03 [157]=saw-k8s-w-04)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
started=$(date +%s.%N)

stage() { printf '%.1f\t%s\n' "$(echo "$(date +%s.%N) - $started" | bc)" "$1"; }
on() { ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "k8s@192.168.100.$1" sudo bash -s; }

prepare_load_balancer() {
  on 150 <<'NODE'
set -e
apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq haproxy >/dev/null
cat > /etc/haproxy/haproxy.cfg <<'CFG'
defaults
  mode tcp
  timeout connect 2s
  timeout client 4h
  timeout server 4h
frontend api
  bind 192.168.100.150:6443
  default_backend masters
backend masters
  option httpchk
  http-check connect ssl
  http-check send meth GET uri /readyz
  http-check expect status 200
  default-server inter 2s fall 3 rise 2 on-marked-down shutdown-sessions
  server m1 192.168.100.151:6443 check verify none
  server m2 192.168.100.152:6443 check verify none
  server m3 192.168.100.153:6443 check verify none
CFG
systemctl restart haproxy
NODE
}

prepare_node() {
  { printf 'mirror=%s registry=%s address=192.168.100.%s kubernetes=%s crio=%s helm=%s\n' \
      "$mirror" "$registry" "$1" "$KUBERNETES_VERSION" "$CRIO_VERSION" "$HELM_VERSION"
    cat <<'NODE'
set -e
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq iptables gpg conntrack socat ebtables nftables >/dev/null
sysctl -qw net.ipv4.ip_forward=1
cd /usr/local/bin
for binary in kubeadm kubelet kubectl; do
  curl -sSfO "$mirror/dl.k8s.io/release/v$kubernetes/bin/linux/amd64/$binary"
done
chmod +x kubeadm kubelet kubectl
mkdir -p /opt/cni/bin /etc/cni/net.d /etc/crio/crio.conf.d /etc/containers /etc/systemd/system/kubelet.service.d
curl -sSf "$mirror/storage.googleapis.com/cri-o/artifacts/cri-o.amd64.v$crio.tar.gz" | tar -xz -C /tmp
cp /tmp/cri-o/bin/* /usr/local/bin/
cp /tmp/cri-o/cni-plugins/* /opt/cni/bin/
cat > /etc/containers/policy.json <<'FILE'
{"default":[{"type":"insecureAcceptAnything"}]}
FILE
cat > /etc/containers/registries.conf <<FILE
unqualified-search-registries = []
[[registry]]
location = "registry.k8s.io"
[[registry.mirror]]
location = "$registry"
insecure = true
[[registry]]
location = "quay.io"
[[registry.mirror]]
location = "$registry"
insecure = true
FILE
cat > /etc/crio/crio.conf.d/10-crio.conf <<'FILE'
[crio.image]
pause_image = "registry.k8s.io/pause:3.10.2"
[crio.runtime]
default_runtime = "runc"
conmon_cgroup = "pod"
cgroup_manager = "systemd"
pinns_path = "/usr/local/bin/pinns"
[crio.runtime.runtimes.runc]
runtime_path = "/usr/local/bin/runc"
monitor_path = "/usr/local/bin/conmon"
[crio.network]
plugin_dirs = ["/opt/cni/bin/"]
FILE
cat > /etc/systemd/system/crio.service <<'FILE'
[Service]
Type=notify
ExecStart=/usr/local/bin/crio
Delegate=yes
TasksMax=infinity
LimitNOFILE=1048576
Restart=on-failure
[Install]
WantedBy=multi-user.target
FILE
cat > /etc/systemd/system/kubelet.service <<'FILE'
[Unit]
After=crio.service
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
ExecStart=/usr/local/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS
Restart=always
RestartSec=2
[Install]
WantedBy=multi-user.target
FILE
systemctl daemon-reload
systemctl enable -q --now crio
systemctl enable -q kubelet
NODE
  } | on "$1"
}

init_first_master() {
  on 151 <<NODE
set -e
umask 077
cat > /root/init.yaml <<'FILE'
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens: [{token: $token, ttl: 1h}]
certificateKey: "$certificate_key"
localAPIEndpoint: {advertiseAddress: 192.168.100.151}
nodeRegistration:
  criSocket: unix:///var/run/crio/crio.sock
  imagePullPolicy: IfNotPresent
  kubeletExtraArgs: [{name: node-ip, value: 192.168.100.151}]
skipPhases: [addon/kube-proxy]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v$KUBERNETES_VERSION
controlPlaneEndpoint: $endpoint:6443
networking: {serviceSubnet: 10.0.0.0/14, podSubnet: 10.4.0.0/14}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
failCgroupV1: false
FILE
timeout 300 kubeadm init --config /root/init.yaml --upload-certs --ignore-preflight-errors="$HANDRUN_IGNORE" >/root/init.log 2>&1 ||
  { tail -20 /root/init.log; exit 1; }
NODE
  on 151 <<<'cat /etc/kubernetes/admin.conf' >"$work/admin.conf"
  on 151 <<<"openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | openssl pkey -pubin -outform der | sha256sum | cut -d' ' -f1" >"$work/ca-hash"
}

join() { # LAST_OCTET [control-plane lines of the JoinConfiguration]
  on "$1" <<NODE
set -e
umask 077
cat > /root/join.yaml <<'FILE'
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery: {bootstrapToken: {apiServerEndpoint: "$endpoint:6443", token: $token, caCertHashes: ["sha256:$(cat "$work/ca-hash")"]}}
nodeRegistration:
  criSocket: unix:///var/run/crio/crio.sock
  imagePullPolicy: IfNotPresent
  kubeletExtraArgs: [{name: node-ip, value: 192.168.100.$1}]
${2:-}
FILE
timeout 300 kubeadm join --config /root/join.yaml --ignore-preflight-errors="$HANDRUN_IGNORE" >/root/join.log 2>&1 ||
  { tail -20 /root/join.log; exit 1; }
NODE
  stage "${name[$1]} joined"
}

install_cilium() {
  cat > "$work/cilium.yaml" <<FILE
kubeProxyReplacement: true
k8sServiceHost: $endpoint
k8sServicePort: 6443
image: {useDigest: false}
ipam: {mode: kubernetes}
k8s: {requireIPv4PodCIDR: true}
routingMode: native
autoDirectNodeRoutes: true
ipv4NativeRoutingCIDR: 10.4.0.0/14
loadBalancer: {mode: dsr, dsrDispatch: opt, algorithm: maglev, acceleration: disabled}
nodePort: {enabled: true}
hostPort: {enabled: true}
bpf: {masquerade: true, lbExternalClusterIP: true, preallocateMaps: true}
ipMasqAgent: {enabled: true, config: {nonMasqueradeCIDRs: []}}
envoy: {enabled: false}
l7Proxy: false
hubble: {enabled: true, relay: {enabled: true, image: {useDigest: false}}, ui: {enabled: false}, tls: {auto: {method: helm}}}
operator: {replicas: 2, image: {useDigest: false}}
l2announcements: {enabled: false}
bgpControlPlane: {enabled: false}
k8sClientRateLimit: {qps: 100, burst: 150}
FILE
  helm upgrade --install cilium "$work/cilium.tgz" -n kube-system -f "$work/cilium.yaml" >"$work/cilium.log" 2>&1
  stage "Cilium release applied"
}

install_metallb() {
  helm upgrade --install metallb "$work/metallb.tgz" -n metallb-system --create-namespace --set speaker.frr.enabled=false \
    --set frr-k8s.enabled=false --set frrk8s.enabled=false --wait --timeout 300s >"$work/metallb.log" 2>&1 || { tail -5 "$work/metallb.log"; exit 1; }
}

apply_service() {
  kubectl apply -f - <<'FILE'
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: default, namespace: metallb-system}
spec: {addresses: [192.168.100.200-192.168.100.220]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: default, namespace: metallb-system}
spec: {ipAddressPools: [default]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "registry.k8s.io/e2e-test-images/agnhost:2.53", args: [netexec, --http-port=8080]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
FILE
}

token=abcdef.0123456789abcdef
certificate_key=$(openssl rand -hex 32)
curl -sSfo "$work/cilium.tgz" "$mirror/helm.cilium.io/cilium-$CILIUM_VERSION.tgz"
curl -sSfo "$work/metallb.tgz" "$mirror/github.com/metallb/metallb/releases/download/metallb-chart-$METALLB_VERSION/metallb-$METALLB_VERSION.tgz"
export KUBECONFIG=$work/admin.conf

jobs=()
prepare_load_balancer & jobs+=($!)
for node in "${masters[@]}" "${workers[@]}"; do prepare_node "$node" & jobs+=($!); done
for job in "${jobs[@]}"; do wait "$job"; done
stage "nodes prepared, CRI-O up"
init_first_master
stage "kubeadm init"
jobs=()
install_cilium & jobs+=($!)
for node in "${workers[@]}"; do join "$node" & jobs+=($!); done
for node in 152 153; do
  join "$node" "controlPlane: {certificateKey: \"$certificate_key\", localAPIEndpoint: {advertiseAddress: 192.168.100.$node}}"
done
for job in "${jobs[@]}"; do wait "$job"; done
stage "all joined"
kubectl wait --for=condition=Ready nodes --all --timeout=300s >/dev/null
stage "all nodes Ready"
install_metallb
stage "MetalLB ready"
until apply_service >/dev/null 2>&1; do sleep 1; done # the webhook answers a moment after its pod is Ready
until curl -s -m 2 http://192.168.100.200/hostname | grep -q web; do sleep 0.5; done
stage "service answers"
