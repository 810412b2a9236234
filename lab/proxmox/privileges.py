"""The privileges and built-in roles of Proxmox VE 9 (pveum role list)."""

from __future__ import annotations

DATASTORE = ("Datastore.Allocate", "Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit")
MAPPING = ("Mapping.Audit", "Mapping.Modify", "Mapping.Use")
POOL = ("Pool.Allocate", "Pool.Audit")
SDN = ("SDN.Allocate", "SDN.Audit", "SDN.Use")
SYSTEM = (
    "Sys.AccessNetwork",
    "Sys.Audit",
    "Sys.Console",
    "Sys.Incoming",
    "Sys.Modify",
    "Sys.PowerMgmt",
    "Sys.Syslog",
)
USERS = ("Group.Allocate", "Permissions.Modify", "Realm.Allocate", "Realm.AllocateUser", "User.Modify")
VM_USE = ("VM.Audit", "VM.Backup", "VM.Config.CDROM", "VM.Config.Cloudinit", "VM.Console", "VM.PowerMgmt")
AGENT = (
    "VM.GuestAgent.Audit",
    "VM.GuestAgent.FileRead",
    "VM.GuestAgent.FileSystemMgmt",
    "VM.GuestAgent.FileWrite",
    "VM.GuestAgent.Unrestricted",
)
VM_ADMIN = (
    *VM_USE,
    *AGENT,
    "VM.Allocate",
    "VM.Clone",
    "VM.Config.CPU",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.Migrate",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
)
REPLICATION = ("VM.Replicate",)

PRIVILEGES = frozenset((*DATASTORE, *MAPPING, *POOL, *SDN, *SYSTEM, *USERS, *VM_ADMIN, *REPLICATION))

_AUDIT = tuple(sorted(name for name in PRIVILEGES if name.endswith(".Audit")))

BUILT_IN_ROLES: dict[str, frozenset[str]] = {
    "Administrator": PRIVILEGES,
    "NoAccess": frozenset(),
    "PVEAdmin": PRIVILEGES - {"Permissions.Modify", "Sys.Modify", "Sys.PowerMgmt", "Realm.Allocate", "Sys.Incoming"},
    "PVEAuditor": frozenset(_AUDIT),
    "PVEDatastoreAdmin": frozenset(DATASTORE),
    "PVEDatastoreUser": frozenset(("Datastore.AllocateSpace", "Datastore.Audit")),
    "PVEMappingAdmin": frozenset(MAPPING),
    "PVEMappingAuditor": frozenset(("Mapping.Audit",)),
    "PVEMappingUser": frozenset(("Mapping.Audit", "Mapping.Use")),
    "PVEPoolAdmin": frozenset(POOL),
    "PVEPoolUser": frozenset(("Pool.Audit",)),
    "PVESDNAdmin": frozenset(SDN),
    "PVESDNUser": frozenset(("SDN.Audit", "SDN.Use")),
    "PVESysAdmin": frozenset(("Permissions.Modify", "Sys.Audit", "Sys.Console", "Sys.Syslog")),
    "PVETemplateUser": frozenset(("VM.Audit", "VM.Clone")),
    "PVEUserAdmin": frozenset(("Group.Allocate", "Realm.AllocateUser", "User.Modify")),
    "PVEVMAdmin": frozenset(VM_ADMIN),
    "PVEVMUser": frozenset((*VM_USE, "VM.GuestAgent.Audit")),
}

# The product's own roles: the least that its driver needs, as docs/production.md asks an operator to set up.
SALTERN_ROLES: dict[str, tuple[str, ...]] = {
    "SalternAudit": ("Sys.Audit",),
    "SalternTemplate": ("VM.Audit", "VM.Clone"),
    "SalternMachine": (
        "VM.Allocate",
        "VM.Audit",
        "VM.Config.CDROM",
        "VM.Config.CPU",
        "VM.Config.Cloudinit",
        "VM.Config.Disk",
        "VM.Config.Memory",
        "VM.Config.Network",
        "VM.Config.Options",
        "VM.GuestAgent.Audit",
        "VM.PowerMgmt",
    ),
    "SalternDisk": ("Datastore.Allocate", "Datastore.AllocateSpace", "Datastore.Audit"),
    "SalternSeed": ("Datastore.Allocate", "Datastore.AllocateTemplate", "Datastore.Audit"),
    "SalternNetwork": ("SDN.Use",),
}
