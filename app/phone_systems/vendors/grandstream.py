"""Grandstream UCM: "CDR Real-Time Output" with JSON as its format.

A delivery is one object, an array of them, or an object with such an array as ``cdr``, as the UCM's CDR API answers.
A record has the fields of the UCM's CDR API (UCM6xxx CDR and REC API Guide), which are Asterisk's and
some more: ``AcctId``, the number of the record in the UCM's own database; ``channel_ext``, ``dstchannel_ext``,
``service``; with newer firmware ``session``, ``caller_name``, ``recordfiles``, ``src_trunk_name``, ``dst_trunk_name``.
Values are text; newer firmware sends some as numbers. Times are local and without a zone.

What tells records apart: ``AcctId`` starts again after a factory reset, so it takes ``uniqueid`` and ``start`` as well,
and the channels for firmware that sends no ``AcctId``. ``session`` ties the legs of a call where it is sent.

Which way a call went is in ``userfield`` (``Inbound``, ``Outbound``, ``Internal``; ``EXT`` in the guide), and in the
names of the trunks: see :mod:`app.phone_systems.vendors.parties`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

from app.phone_systems.vendors import authentication
from app.phone_systems.vendors.asterisk_records import asterisk_record
from app.phone_systems.vendors.described import ASTERISK_FIELDS, ASTERISK_RECORD, Body, several
from app.phone_systems.vendors.records import JSON, CallRecord, decode, read_each
from app.phone_systems.vendors.set_up import PASSWORD_HERE, Entry, SetUp, Step, host_and_path, port_of

LABEL: Final = "Grandstream UCM"
AUTHENTICATION: Final = authentication.BASIC
EXAMPLE: Final = {
    "AcctId": "62",
    "src": "5300",
    "dst": "5301",
    "clid": '"Ada Lovelace" <5300>',
    "channel": "PJSIP/5300-00000001",
    "channel_ext": "5300",
    "dstchannel": "PJSIP/5301-00000002",
    "dstchannel_ext": "5301",
    "lastapp": "Dial",
    "start": "2026-11-20 18:32:10",
    "answer": "2026-11-20 18:32:12",
    "end": "2026-11-20 18:33:10",
    "duration": "60",
    "billsec": "58",
    "disposition": "ANSWERED",
    "uniqueid": "1795199530.9",
    "session": "1795199530-9",
}
_SEVERAL: Final = several(ASTERISK_RECORD)
BODIES: Final = {
    JSON: Body(
        {
            "anyOf": [
                ASTERISK_RECORD,
                _SEVERAL,
                {"type": "object", "required": ["cdr"], "properties": {"cdr": _SEVERAL}},
            ]
        },
        EXAMPLE,
    )
}
CONTENT_TYPES: Final = frozenset(BODIES)
FIELDS: Final = frozenset({*ASTERISK_FIELDS, "AcctId", "session", "caller_name"})
IDENTITY: Final = ("AcctId", "uniqueid", "start", "channel", "dstchannel")


def parse(content_type: str, body: bytes, time_zone: ZoneInfo) -> list[CallRecord]:
    """The record of a delivery, or its records. Raises :class:`~records.UnreadableDelivery`."""

    def read(fields: Mapping[str, Any]) -> CallRecord:
        return asterisk_record(fields, time_zone, identity=IDENTITY, linked_by="session", caller_name="caller_name")

    delivered = decode(content_type, body)
    records = delivered.get("cdr") if isinstance(delivered, dict) else None
    return read_each(records if isinstance(records, list) else delivered, read)


def set_up(url: str, username: str, password: str = PASSWORD_HERE) -> SetUp:
    """How to make it deliver to ``url`` with these credentials: the fields of its "CDR Real-Time Output"."""
    return SetUp(
        (
            Step(
                "In the web interface of the UCM open Integrations, API Configuration, CDR Real-Time Output Settings. "
                "Older firmware has it under Value-Added Features."
            ),
            Step(
                "Enter this, and save.",
                entries=(
                    Entry("Enable", "Yes", is_chosen=True),
                    Entry("Server Address", host_and_path(url)),
                    Entry("Port", port_of(url)),
                    Entry("Delivery Method", "HTTPS" if url.startswith("https:") else "HTTP", is_chosen=True),
                    Entry("Format", "JSON", is_chosen=True),
                    Entry("Username", username),
                    Entry("Password", password),
                ),
            ),
            Step("Apply the changes, make a call, and hang up."),
        ),
        "If no record comes: some firmware takes the whole webhook URL as Server Address, others the name of the host "
        "alone with the path in a field of its own. The user name and the password have to be sent: deliveries without "
        "them are refused, as some cloud models make them.",
    )
