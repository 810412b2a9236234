# The cluster: change it here (or in an overlay directory), nowhere else. Plain YAML, no Jinja.
# Every other key and its default: docs/architecture.md, "The definition". Check with: salt-run cluster.validate
cluster:
  name: saw-k8s
  network: {cidr: 192.168.100.0/24, gateway: 192.168.100.1, dns: [192.168.100.1]}
  service_cidr: 10.0.0.0/14
  pod_cidr: 10.4.0.0/14
  worker_range: 192.168.100.160-192.168.100.189   # addresses for `salt-cloud -p worker NAME`

# One row a machine; memory and disk in GiB. Control plane: 1, 3 or 5 rows.
nodes:
  saw-k8s-ha-01: {role: load_balancer, address: 192.168.100.150, cpus: 2, memory_gib: 4,  disk_gib: 20}
  saw-k8s-m-01:  {role: control_plane, address: 192.168.100.151, cpus: 2, memory_gib: 8,  disk_gib: 20}
  saw-k8s-m-02:  {role: control_plane, address: 192.168.100.152, cpus: 2, memory_gib: 8,  disk_gib: 20}
  saw-k8s-m-03:  {role: control_plane, address: 192.168.100.153, cpus: 2, memory_gib: 8,  disk_gib: 20}
  saw-k8s-w-01:  {role: worker,        address: 192.168.100.154, cpus: 2, memory_gib: 16, disk_gib: 20}
  saw-k8s-w-02:  {role: worker,        address: 192.168.100.155, cpus: 2, memory_gib: 16, disk_gib: 20}
  saw-k8s-w-03:  {role: worker,        address: 192.168.100.156, cpus: 2, memory_gib: 16, disk_gib: 20}
  saw-k8s-w-04:  {role: worker,        address: 192.168.100.157, cpus: 2, memory_gib: 16, disk_gib: 20}

# Where the machines live. The account is in cloud.providers.d/, not here.
proxmox: {provider: my-proxmox-config, node: pve, template: debian-12-saltern, bridge: vmbr0, storage: local-lvm, iso_storage: local}

# The Salt master as the nodes reach it.
master: {address: 192.168.100.1}

# Addresses that services of type LoadBalancer get; no machine may use them.
metallb:
  pools: {default: [192.168.100.200-192.168.100.220]}

# Off: etcdctl is a convenience whose checksum versions.sls does not have.
artefacts: {disabled: [etcdctl]}
