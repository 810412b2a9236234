"""A Proxmox VE API server for the lab: the wire of Proxmox VE 9 in front of machines that are not virtual.

What it answers, refuses and delays follows Proxmox VE 9.1; what a "virtual machine" is, a class decides that
implements :class:`lab.proxmox.machines.Machines`. Start it with ``python -m lab.proxmox --help``.
"""
