"""A node's nftables rules as text: values in, text out. Sets and maps are declared empty here;
their elements are `core.network.elements`. Loading a text again keeps the elements, replaces the
rules and is one transaction. Used by `host.plane`, `host.uplink` and
`host.switch`.
"""

from collections.abc import Iterable

from stackd.core.network import naming

_DATA_SETS = """\
  set bridges { type ifname; }
  set same { type ifname . ifname; }
  set internal { type ifname; }
  set gw { type ifname . ipv4_addr; }
  set nodes { type ipv4_addr; }
  set peermac { type ifname . ether_addr; }
  set src4 { type ifname . ether_addr . ipv4_addr; }
  set self { type ipv4_addr . ipv4_addr; }
  set vips { type ipv4_addr; }
  map slots { type mark . ipv4_addr : ipv4_addr; }
  map svc { type ipv4_addr : verdict; }
"""

_DATA_CHAINS = """\
  chain rawpre {{
    type filter hook prerouting priority raw; policy accept;
    iifname @bridges jump source
  }}
  chain source {{
    iifname . ether saddr @peermac accept
    iifname . ether saddr . ip saddr @src4 accept
    counter drop
  }}
  chain pre {{
    type nat hook prerouting priority dstnat; policy accept;
    meta l4proto {{ tcp, udp, icmp }} ip daddr vmap @svc
  }}
  chain out {{
    type nat hook output priority -100; policy accept;
    meta l4proto {{ tcp, udp, icmp }} ip daddr vmap @svc
  }}
  chain post {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr . ip daddr @self masquerade
    iifname @bridges oifname "{uplink}" masquerade
    iifname "{uplink}" oifname @bridges masquerade
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname @bridges jump tasks_in
  }}
  chain tasks_in {{
    ct state established,related accept
    iifname . ip daddr @gw meta l4proto {{ tcp, udp }} th dport {{ 53, 8016 }} accept
    iifname . ip daddr @gw icmp type echo-request accept
    meta l4proto tcp reject with tcp reset
    drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    meta l4proto tcp ip daddr @vips reject with tcp reset
    ip daddr @vips reject with icmp port-unreachable
    iifname . oifname @same accept
    ct state established,related accept
    iifname "{uplink}" oifname @bridges accept
    oifname @bridges drop
    iifname @bridges jump egress
  }}
  chain egress {{
    iifname @internal reject with icmp admin-prohibited
    ip daddr @nodes tcp dport {{ 7420, 2379, 2380 }} reject with tcp reset
    ip daddr 169.254.0.0/16 reject with icmp admin-prohibited
    udp dport {vxlan_port} drop
  }}
"""

_HOST = """\
  set nodes {{ type ipv4_addr; }}
  set vnis {{ typeof @th,96,24; }}
  set published {{ type inet_proto . inet_service; }}
  chain rawpre {{
    type filter hook prerouting priority raw; policy accept;
    udp dport {vxlan_port} notrack
  }}
  chain rawout {{
    type filter hook output priority raw; policy accept;
    udp dport {vxlan_port} notrack
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    udp dport {vxlan_port} @th,96,24 @vnis ip saddr != @nodes counter drop
    iifname "{uplink}" ct state established,related accept
    iifname "{uplink}" meta l4proto . th dport @published accept
    iifname "{uplink}" meta l4proto tcp reject with tcp reset
    iifname "{uplink}" drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    oifname "{uplink}" ct state established,related accept
    oifname "{uplink}" drop
  }}
  chain post {{
    type nat hook postrouting priority srcnat; policy accept;
    iifname "{uplink}" masquerade
  }}
"""


def modulus_chain(modulus: int) -> str:
    """Name of the chain that throws dice with so many sides."""
    return f"c{modulus}"


def modulus_chains(table: str, moduli: Iterable[int]) -> str:
    """Text that makes the chains of these slot counts, or remakes them."""
    lines = []
    for modulus in sorted(moduli):
        name = modulus_chain(modulus)
        lines += [
            f"add chain ip {table} {name}",
            f"flush chain ip {table} {name}",
            f"add rule ip {table} {name} meta mark set numgen random mod {modulus}",
            f"add rule ip {table} {name} dnat to meta mark . ip daddr map @slots",
        ]
    return "".join(line + "\n" for line in lines)


def data_plane(table: str, vxlan_port: int, moduli: Iterable[int]) -> str:
    """The table of a data-plane namespace."""
    chains = _DATA_CHAINS.format(uplink=naming.UPLINK, vxlan_port=vxlan_port)
    return _reload(table, _DATA_SETS + chains) + modulus_chains(table, moduli)


def host(table: str, vxlan_port: int, uplink: str) -> str:
    """The table of the namespace that holds the VXLAN sockets and the listeners."""
    return _reload(table, _HOST.format(uplink=uplink, vxlan_port=vxlan_port))


def switch(table: str, subnet: str, link: str, uplinks: str) -> str:
    """The table that lets hosts behind `link` reach what the machine reaches; towards them go
    answers, and what comes from links whose names begin with `uplinks`."""
    body = f'''\
  chain forward {{
    type filter hook forward priority filter; policy accept;
    oifname "{link}" ct state established,related accept
    iifname "{uplinks}*" oifname "{link}" accept
    oifname "{link}" drop
  }}
  chain post {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {subnet} oifname != {{ "lo", "{link}" }} masquerade
  }}
'''
    return _reload(table, body)


def _reload(table: str, body: str) -> str:
    return f"add table ip {table}\nflush table ip {table}\ntable ip {table} {{\n{body}}}\n"


def remove(table: str) -> str:
    """Text that removes a table whether or not it is there."""
    return f"add table ip {table}\ndelete table ip {table}\n"
