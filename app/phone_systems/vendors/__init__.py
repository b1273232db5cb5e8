"""The kinds of phone systems. Each is one module that knows how such a PBX delivers its call records.

A vendor knows nothing of Flask or the database: bytes in, :class:`CallRecord` out. A new one is a module with the names
of :class:`Vendor`, and a line in the table below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from app.phone_systems.vendors import asterisk, freeswitch, grandstream, yeastar
from app.phone_systems.vendors.authentication import BASIC, Authentication
from app.phone_systems.vendors.described import Body
from app.phone_systems.vendors.records import CallRecord, MalformedDelivery, UnreadableDelivery
from app.phone_systems.vendors.set_up import PASSWORD_HERE, SetUp

__all__ = [
    "PASSWORD_HERE",
    "VENDORS",
    "CallRecord",
    "MalformedDelivery",
    "SetUp",
    "UnreadableDelivery",
    "Vendor",
    "authentication_of",
]


class Vendor(Protocol):
    """What each vendor's module offers."""

    @property
    def LABEL(self) -> str:
        """How people call it."""

    @property
    def CONTENT_TYPES(self) -> frozenset[str]:
        """The media types of its deliveries, lower-case and without parameters."""

    @property
    def AUTHENTICATION(self) -> Authentication:
        """How it shows that a delivery is its own."""

    @property
    def BODIES(self) -> Mapping[str, Body]:
        """What a delivery of each of its media types looks like, for the API's description."""

    @property
    def FIELDS(self) -> frozenset[str]:
        """The names of fields that what is wrong with a delivery may be said of."""

    def parse(self, content_type: str, body: bytes, time_zone: ZoneInfo) -> list[CallRecord]:
        """The call records in a delivery, one or more.

        content_type: one of :attr:`CONTENT_TYPES`. time_zone: that of the PBX's clock, whose time stamps name none.
        Raises :class:`UnreadableDelivery`, and nothing else whatever the body is.
        """

    def set_up(self, url: str, username: str, password: str = PASSWORD_HERE) -> SetUp:
        """How people make such a PBX deliver to ``url`` with these credentials. Where the PBX makes its secret itself,
        neither is used."""


VENDORS: Final[Mapping[str, Vendor]] = {
    "asterisk": asterisk,
    "freeswitch": freeswitch,
    "grandstream": grandstream,
    "yeastar": yeastar,
}


def authentication_of(vendor: str) -> Authentication:
    """How phone systems of that vendor show that a delivery is their own; as most do where there is none such."""
    return VENDORS[vendor].AUTHENTICATION if vendor in VENDORS else BASIC
