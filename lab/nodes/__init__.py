"""The lab's machines: system containers that boot from a template, as a virtual machine boots from its disk."""
