"""Proxmox VE through its API, free of Salt: what the salt-cloud driver in _clouds/ is made of.

`api` talks, `errors` explains, `tasks` waits, `machine` compares, `seed` writes the first-boot image,
`locks` and `journal` keep parallel and broken-off creates apart, `create` and `remove` put it all in order,
`disks` knows what a destroy may leave.
"""
