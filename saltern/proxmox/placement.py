"""What a machine is to be: its row of the table, or for a further worker its profile and a free address."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, ip_interface
from typing import TYPE_CHECKING, Any

from saltern.proxmox import inventory, locks
from saltern.proxmox.api import Proxmox
from saltern.proxmox.errors import Refused
from saltern.proxmox.inventory import Inventory, Machine
from saltern.proxmox.journal import Journal, Record

_LOCK_S = 120.0
