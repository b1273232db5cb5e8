"""The kinds of phone systems. Each is one module that knows how such a PBX delivers its call records.

A vendor knows nothing of Flask or the database: bytes in, :class:`CallRecord` out. A new one is a module with the names
of :class:`Vendor`, and a line in the table below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from app.phone_systems.vendors import asterisk, grandstream
from app.phone_systems.vendors.records import CallRecord, MalformedDelivery, UnreadableDelivery
from app.phone_systems.vendors.set_up import PASSWORD_HERE, SetUp

__all__ = ["PASSWORD_HERE", "VENDORS", "CallRecord", "MalformedDelivery", "SetUp", "UnreadableDelivery", "Vendor"]


class Vendor(Protocol):
    """What each vendor's module offers."""

    @property
    def LABEL(self) -> str:
        """How people call it."""

    @property
    def CONTENT_TYPES(self) -> frozenset[str]:
        """The media types of its deliveries, lower-case and without parameters."""

    @property
    def EXAMPLE(self) -> Mapping[str, str]:
        """The fields of a delivery with one record, for the API's description."""

    def parse(self, content_type: str, body: bytes, time_zone: ZoneInfo) -> list[CallRecord]:
        """The call records in a delivery, one or more.

        content_type: one of :attr:`CONTENT_TYPES`. time_zone: that of the PBX's clock, whose time stamps name none.
        Raises :class:`UnreadableDelivery`, and nothing else whatever the body is.
        """

    def set_up(self, url: str, username: str, password: str = PASSWORD_HERE) -> SetUp:
        """How people make such a PBX deliver to ``url`` with these credentials."""


VENDORS: Final[Mapping[str, Vendor]] = {
    "asterisk": asterisk,
    "grandstream": grandstream,
}
