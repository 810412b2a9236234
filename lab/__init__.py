"""The embedded Proxmox lab: a separate program; the product never imports it."""
