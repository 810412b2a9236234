"""keepalived's configuration from data, checked by keepalived itself before it is put in place; who has the address."""


from salt.exceptions import CommandExecutionError

# A standby that hears nothing takes over after three of these intervals and a part of one that its priority makes
# (RFC 5798, 6.1): after 1.6 s, so that a client's second repetition of a lost SYN (3 s) meets the new holder.
# nopreempt: whoever comes back stands by, because each move cuts connections; it wants both to begin as BACKUP.
# A dead HAProxy is noticed after two refused connections (2 s), a hung one after two time-outs.
# vrrp_priority: a busy machine must not be taken for a dead one.
# root runs the script: `keepalived -t` of 2.2.7 ends itself with SIGTERM when the script is another user's.
CONFIG = """\
# Managed by Salt (salt/keepalived): changes here are undone.
global_defs {{
  router_id {name}
  enable_script_security
  script_user root
  vrrp_version 3
  vrrp_check_unicast_src
  vrrp_priority -20
}}

vrrp_script haproxy {{
  script "{check} {host} {port}"
  interval 1
  timeout 2
  fall 2
  rise 2
}}

vrrp_instance virtual_address {{
  state BACKUP
  nopreempt
  interface {device}
  virtual_router_id {router_id}
  priority {priority}
  advert_int 0.5
  unicast_src_ip {address}
  unicast_peer {{
{peers}
  }}
  virtual_ipaddress {{
    {virtual_address}/32 dev {device}
  }}
  track_script {{
    haproxy
  }}
}}
"""


def text(settings, device):
    """The configuration.

    settings: ``pillar["saltern"]["keepalived"]``: ``{"virtual_address", "virtual_router_id", "priority", "address",
    "peers": [addresses], "check": {"path", "alive": "ADDRESS:PORT"}}``; device: the network interface that carries the
    address. Returns text.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-ha-01 keepalived.text '{virtual_address: 192.168.100.149, ...}' eth0
    """
    host, _, port = settings["check"]["alive"].rpartition(":")
    return CONFIG.format(
        name=__opts__["id"],
        check=settings["check"]["path"],
        host=host,
        port=port,
        device=device,
        router_id=settings["virtual_router_id"],
        priority=settings["priority"],
        address=settings["address"],
        peers="\n".join(f"    {peer}" for peer in settings["peers"]),
        virtual_address=settings["virtual_address"],
    )


def device(address):
    """The network interface that has an address.

    Raises CommandExecutionError when none has it.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-ha-01 keepalived.device 192.168.100.150
    """
    links = __salt__["preflight_identity.links"]()
    found = next((link["name"] for link in links if address in link["addresses"]), None)
    if found is None:
        raise CommandExecutionError(
            f"{__opts__['id']}: no interface has {address}, so nothing can carry the virtual address: "
            "correct the row in pillar/cluster.sls, or the machine's network (ip address)"
        )
    return found


def holds(virtual_address):
    """Whether this node has the virtual address now.

    CLI Example:

    .. code-block:: bash

        salt 'saw-k8s-ha-*' keepalived.holds 192.168.100.149
    """
    return any(virtual_address in link["addresses"] for link in __salt__["preflight_identity.links"]())


def install(content, config):
    """Put a configuration in place if keepalived accepts it; else nothing changes.

    Raises CommandExecutionError with keepalived's words when it does not.

    CLI Example:

    .. code-block:: bash

        salt saw-k8s-ha-01 keepalived.install "global_defs { ..." /etc/keepalived/keepalived.conf
    """
    __salt__["config_file.replace_checked"](config, content, _check)


def _check(candidate):
    """Have keepalived judge a file, the interface and the script that it names included."""
    argv = ["keepalived", "--config-test", "--use-file", candidate]
    done = __salt__["cmd.run_all"](argv, python_shell=False, ignore_retcode=True)
    if done["retcode"]:
        raise CommandExecutionError(
            f"keepalived -t refuses the configuration, the old one stays: {done['stderr'] or done['stdout']}"
        )
