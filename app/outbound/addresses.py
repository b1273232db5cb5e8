"""Which IP addresses a request to a tenant's host may be sent to.

Public ones, and those of the networks that the operator allows. What is not public is listed here, by the registries of
IANA for special purposes (RFC 6890), rather than left to :mod:`ipaddress`, which knows more of them with each version
of Python, and in some versions takes them for public.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(map(ip_network, texts))


# Where no phone system is, whatever the operator allows.
NEVER: Final = _networks(
    "0.0.0.0/8",  # this machine, on Linux
    "169.254.0.0/16",  # link-local, also where clouds hand out a machine's credentials
    "168.63.129.16/32",  # the same of Azure, under a public address
    "100.100.100.200/32",  # the same of Alibaba
    "192.0.0.192/32",  # the same of Oracle
    "224.0.0.0/4",  # multicast
    "255.255.255.255/32",  # broadcast
    "::/128",  # this machine
    "::ffff:0:0/96",  # an IPv4 address within an IPv6 one, as in the next: it is to be written as what it is
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "2002::/16",
    "fd00:ec2::/32",  # credentials, of AWS
    "fd20:ce::/32",  # the same of Google
    "fe80::/10",  # link-local
    "ff00::/8",  # multicast
)
LOOPBACK: Final = _networks("127.0.0.0/8", "::1/128")

_NOT_PUBLIC: Final = (
    *NEVER,
    *_networks(
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by customers of one carrier
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocols
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112, as is 192.175.48.0/24
        "192.52.193.0/24",  # automatic multicast tunneling
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "240.0.0.0/4",
        "2001::/23",  # protocols, Teredo among them
        "2001:db8::/32",  # documentation
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    ),
)
_PUBLIC_IPV6: Final = IPv6Network("2000::/3")  # all that was ever given to anybody


def may_be_reached(address: Address, allowed: Iterable[Network]) -> bool:
    """Whether a request may be sent there. allowed: networks besides the public ones."""
    if _is_in(address, NEVER):
        return False
    return _is_in(address, allowed) or _is_public(address)


def networks_of(text: str) -> tuple[Network, ...]:
    """The networks of a comma-separated list. Raises ValueError if one is none, or has bits after its prefix."""
    return tuple(ip_network(network) for one in text.split(",") if (network := one.strip()))


def check_networks(values: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with OUTBOUND_ALLOWED_NETWORKS. No sentence repeats a value."""
    try:
        networks = networks_of(values["OUTBOUND_ALLOWED_NETWORKS"])
    except ValueError:
        yield (
            "OUTBOUND_ALLOWED_NETWORKS must be networks, such as 10.20.0.0/16, or addresses, comma-separated, "
            "with no bits set after the prefix."
        )
        return
    if any(_is_within(network, NEVER) for network in networks):
        yield (
            "OUTBOUND_ALLOWED_NETWORKS has a network that requests are never sent to: link-local, multicast, where "
            "clouds hand out credentials, or IPv4 within IPv6. Take it out."
        )


def overlaps_loopback(networks: Iterable[Network]) -> bool:
    """Whether one of them has addresses of this machine itself."""
    return any(
        network.version == loopback.version and network.overlaps(loopback)
        for network in networks
        for loopback in LOOPBACK
    )


def _is_public(address: Address) -> bool:
    if address.version == 6 and address not in _PUBLIC_IPV6:
        return False
    return address.is_global and not _is_in(address, _NOT_PUBLIC)


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _is_within(network: Network, others: Iterable[Network]) -> bool:
    """Whether all of ``network`` is in one of the others."""
    return any(
        network.version == other.version and network.network_address in other and network.broadcast_address in other
        for other in others
    )
