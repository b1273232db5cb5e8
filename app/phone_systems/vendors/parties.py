"""Which way a leg went, and whose extension took part: docs/metrics.md says the same for those who read it.

Each end of a leg is inside, at the phone system, or outside, or it is not known where. Where the phone system says it,
that counts; where not, the number does: up to six digits are an extension, more are a number outside.

* Who was outside called in: the leg is inbound, also when it was handed on to another number outside.
* From inside to outside it is outbound, between two ends inside internal, and anything else is unknown.
* The extension is the one called, or, of an outbound leg, the one that called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

INBOUND: Final = "inbound"
OUTBOUND: Final = "outbound"
INTERNAL: Final = "internal"
UNKNOWN: Final = "unknown"

_EXTENSION: Final = re.compile(r"[0-9]{1,6}")
_FEATURE_CODE: Final = re.compile(r"[*#][0-9*#]*")
_OUTSIDE: Final = re.compile(r"\+[0-9]+|[0-9]{7,}")
_SEPARATORS: Final = re.compile(r"[ ()./-]+")
_WITHHELD: Final = frozenset({"anonymous", "private", "restricted", "unavailable", "unknown", "withheld"})

_ENDPOINT: Final = re.compile(r"[A-Za-z0-9]+/(.+)-[0-9A-Fa-f]+")  # PJSIP/100-0000001f, SIP/trunk_1-00000002
_LOCAL: Final = re.compile(r"Local/([0-9]+)@.*")  # rings that number by way of the dialplan
_SPAN: Final = re.compile(r"DAHDI/i[0-9]+/.*")  # an ISDN line
_FROM_OUTSIDE: Final = re.compile(r"from-(trunk|pstn|did|analog|dahdi|zaptel)|ext-did")  # contexts of FreePBX

_SAID: Final = {"inbound": INBOUND, "outbound": OUTBOUND, "internal": INTERNAL}


class Side(Enum):
    """Where an end of a leg is."""

    INSIDE = "inside"
    OUTSIDE = "outside"


class End(NamedTuple):
    """One end of a leg. side: None if it is not known. extension: whose it is; None outside, or for no telephone."""

    side: Side | None = None
    extension: str | None = None


class Parties(NamedTuple):
    """direction: inbound, outbound, internal or unknown. extension: that took part; None if there is none, or it is not
    known."""

    direction: str
    extension: str | None


_NOT_KNOWN: Final = End()
_OUT_THERE: Final = End(Side.OUTSIDE)


def end_of_number(number: str) -> End:
    """What a number says of its end."""
    plain = _SEPARATORS.sub("", number)
    if _EXTENSION.fullmatch(plain):
        return End(Side.INSIDE, plain)
    if _FEATURE_CODE.fullmatch(plain):
        return End(Side.INSIDE)
    if _OUTSIDE.fullmatch(plain) or plain.lower() in _WITHHELD:
        return _OUT_THERE
    return _NOT_KNOWN


def parties_of(caller: End, called: End, direction: str | None = None) -> Parties:
    """The parties of a leg with these ends. direction: what the phone system says itself, if it does."""
    found = direction or _direction(caller, called)
    if found == OUTBOUND:
        return Parties(found, caller.extension)
    if found == INBOUND:
        return Parties(found, called.extension)
    return Parties(found, called.extension or caller.extension)


def by_numbers(source: str, destination: str, direction: str | None = None) -> Parties:
    """The parties of a leg of which no more is known than the numbers, and maybe the direction."""
    return parties_of(end_of_number(source), end_of_number(destination), direction)


def by_asterisk(source: str, destination: str, delivered: Mapping[str, str]) -> Parties:
    """The parties of a leg that Asterisk, or what is built on it, described.

    delivered: its fields, of which are read ``channel``, ``dstchannel``, ``dcontext``; and those that Grandstream adds:
    ``userfield`` (``Inbound``, ``Outbound`` or ``Internal``), ``src_trunk_name``, ``dst_trunk_name`` (empty without a
    trunk), ``channel_ext``, ``dstchannel_ext`` (an extension, or the trunk's id, such as ``trunk_1``).
    """
    channel, called_channel = delivered.get("channel", ""), delivered.get("dstchannel", "")
    caller = (
        _trunk(delivered.get("src_trunk_name", ""))
        or _end_of_name(delivered.get("channel_ext", ""))
        or _end_of_channel(channel)
        or _end_of_context(delivered.get("dcontext", ""))
        or end_of_number(source)
    )
    called = (
        _trunk(delivered.get("dst_trunk_name", ""))
        or _end_of_name(delivered.get("dstchannel_ext", ""))
        or _end_of_channel(called_channel)
        or _end_behind(called_channel)
        or end_of_number(destination)
    )
    return parties_of(caller, called, _SAID.get(delivered.get("userfield", "").lower()))


def _direction(caller: End, called: End) -> str:
    if caller.side is Side.OUTSIDE:
        return INBOUND
    if caller.side is None or called.side is None:
        return UNKNOWN
    return OUTBOUND if called.side is Side.OUTSIDE else INTERNAL


def _trunk(name: str) -> End | None:
    return _OUT_THERE if name else None


def _end_of_name(name: str) -> End | None:
    """Of an endpoint. Telephones and trunks may be called anything: another name than these says nothing."""
    if _EXTENSION.fullmatch(name):
        return End(Side.INSIDE, name)
    return _OUT_THERE if "trunk" in name.lower() else None


def _end_of_channel(channel: str) -> End | None:
    if _SPAN.fullmatch(channel):
        return _OUT_THERE
    endpoint = _ENDPOINT.fullmatch(channel)
    return _end_of_name(endpoint[1]) if endpoint and not channel.startswith(("Local/", "DAHDI/")) else None


def _end_behind(channel: str) -> End | None:
    """Of a called channel that only stands for a number. A caller's names what was dialled, not who did."""
    behind = _LOCAL.fullmatch(channel)
    return end_of_number(behind[1]) if behind else None


def _end_of_context(context: str) -> End | None:
    return _OUT_THERE if _FROM_OUTSIDE.match(context) else None
