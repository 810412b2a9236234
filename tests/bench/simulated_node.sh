#!/bin/sh
# simulated_node.sh NAME ROOT WORK PROGRAM...: run a program in a copy-on-write copy of a node's root directory.
# Called in namespaces of its own (unshare --mount --uts): all of it is gone when the program has ended.
set -eu
name=$1 root=$2 work=$3
shift 3
hostname "$name"
node=$work/node
mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/scratch" "$node"
mount -t proc proc "$node/proc"
mount --bind "$node/proc/sys" "$node/proc/sys"
mount -o remount,bind,ro "$node/proc/sys"
mount --rbind /dev "$node/dev"
mount -t tmpfs tmpfs "$node/run"
mkdir -p "$node/run/systemd/resolve"
echo systemd-nspawn > "$node/run/systemd/container"
cp "$node/etc/resolv.conf" "$node/run/systemd/resolve/resolv.conf" 2>/dev/null || touch "$node/run/systemd/resolve/resolv.conf"
# The bind mounts that the node's own fstab has, as systemd would make them; within the node, for its paths have links.
# shellcheck disable=SC2016 # that shell expands them
exec chroot "$node" sh -c '
    while read -r source path kind _; do
        [ "$kind" = none ] || continue
        mkdir -p "$path"
        mount --bind "$source" "$path"
    done < /etc/fstab
    exec "$@"' in-the-node "$@"
