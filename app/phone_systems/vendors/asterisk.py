"""Asterisk and what is built on it openly, such as FreePBX.

Asterisk has no CDR backend that speaks HTTP: a hangup handler posts the fields of ``CDR(...)`` with ``CURL()``, as a
form or as a JSON object (https://docs.asterisk.org, "CDR" among the dialplan functions). Values are text as the
dialplan shows it: times are local and without a zone, an empty ``answer`` means that nobody answered.

What tells records apart: a channel can have several (a call that is forked or transferred), all with its ``uniqueid``.
So it takes ``uniqueid``, ``start``, ``channel`` and ``dstchannel`` together; ``linkedid`` ties the legs of a call.
"""

from __future__ import annotations

from typing import Final
from zoneinfo import ZoneInfo

from app.phone_systems.vendors.records import FORM, JSON, CallRecord, asterisk_record, decode

LABEL: Final = "Asterisk / FreePBX"
CONTENT_TYPES: Final = frozenset({FORM, JSON})
EXAMPLE: Final = {
    "src": "+442071234567",
    "dst": "100",
    "clid": '"Ada Lovelace" <+442071234567>',
    "channel": "PJSIP/trunk-00000001",
    "dstchannel": "PJSIP/100-00000002",
    "lastapp": "Dial",
    "start": "2026-11-20 18:32:10",
    "answer": "2026-11-20 18:32:12",
    "end": "2026-11-20 18:33:10",
    "duration": "60",
    "billsec": "58",
    "disposition": "ANSWERED",
    "uniqueid": "1795199530.7",
    "linkedid": "1795199530.7",
}
IDENTITY: Final = ("uniqueid", "start", "channel", "dstchannel")


def parse(content_type: str, body: bytes, time_zone: ZoneInfo) -> list[CallRecord]:
    """The one record of a delivery. Raises :class:`~records.UnreadableDelivery`."""
    return [asterisk_record(decode(content_type, body), time_zone, identity=IDENTITY, linked_by="linkedid")]
