# Undoes os, last step first. What stays, and why: packages and their services (other software may need them by now), the operator's account
# (it may own files, and the machine's seed may have made it), directories that hold something, the copies of the original fstab.
{%- set node = pillar.saltern %}
{%- set backups = '["' ~ node.paths.work ~ '/backup", "' ~ node.paths.backup ~ '"]' %}
The sandbox shows at the usual paths no more:
  bind_mount.unmounted:
    - mounts: {{ node.os.bind_mounts | json }}
    - backups: {{ backups }}

The names of the nodes are gone from the hosts file:
  hosts_file.absent: []

The sysctl values of before are in force:
  sysctl_profile.absent:
    - profiles: {{ node.os.sysctl | json }}
    - obsolete: {{ node.os.obsolete_sysctl | json }}
    - backups: {{ backups }}

The kernel modules are not loaded at boot:
  kernel_module.absent:
    - modules: {{ node.os.modules | json }}
    - backups: {{ backups }}

Swap is as it was:
  swap.enabled:
    - backups: {{ backups }}
    - require:
      - bind_mount: The sandbox shows at the usual paths no more

The next bring-up is a first one again:
  file.absent:
    - names:
      - {{ node.paths.sandbox }}/etc/provisioner/packages.json
      - {{ salt["last_apply.path"]() }}

No boot makes directories again:
  file.absent:
    - name: /etc/tmpfiles.d/saltern-directories.conf

The empty directories are gone:
  directory_tree.absent_if_empty:
    - directories: {{ node.os.directories | json }}
    - require:
      - bind_mount: The sandbox shows at the usual paths no more
      - file: The next bring-up is a first one again
