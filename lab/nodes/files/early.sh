#!/bin/sh
# What a system container lacks compared with a virtual machine, made up for before anything else starts.
# Runs once at each boot, before cloud-init; reads /etc/saltern-lab/links, which the lab writes before the start.
set -eu

# The kubelet and CRI-O make cgroups below ours; systemd-nspawn mounts the controllers of cgroup v1 read-only.
while read -r _ mount_point type _; do
    case "$type:$mount_point" in
    cgroup*:/sys/fs/cgroup* | tmpfs:/sys/fs/cgroup) mount -o remount,bind,rw "$mount_point" ;;
    esac
done </proc/mounts

# Pods hand mounts to each other and to the node (Cilium's BPF maps, kubelet's volumes).
mount --make-rshared /
mkdir -p /sys/fs/bpf
mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf

# These settings are the machine's, and shared by all nodes: a node may read them, the lab sets them (kernel_settings.py).
# rbind keeps what systemd-nspawn has mounted below (the node's own boot ID).
for tree in fs kernel vm; do
    mount --rbind "/proc/sys/$tree" "/proc/sys/$tree"
    mount -o remount,bind,ro "/proc/sys/$tree"
done

# Swap is the machine's, too: the node has none, and must not try to switch off another's.
if [ "$(wc -l </proc/swaps)" -gt 1 ]; then
    head -n 1 /proc/swaps >/run/no-swaps
    mount --bind /run/no-swaps /proc/swaps
fi

# The network card gets its name and the address that the machine's configuration names. systemd-networkd waits for udev
# to announce a link (/sys is writable here); there is no udev in a container, so its record says that it has seen this one.
mkdir -p /run/udev/data
while read -r link name mac; do
    [ -e "/sys/class/net/$link" ] || continue
    ip link set dev "$link" down
    ip link set dev "$link" address "$mac"
    ip link set dev "$link" name "$name"
    echo "I:1" >"/run/udev/data/n$(cat "/sys/class/net/$name/ifindex")"
done </etc/saltern-lab/links
