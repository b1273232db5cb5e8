"""What the API's description says of deliveries, in the words of OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from app.phone_systems.vendors.records import MAXIMUM_FIELDS, MAXIMUM_RECORDS


class Body(NamedTuple):
    """A delivery in one content type: its schema, and one with one record that fits it."""

    schema: Mapping[str, Any]
    example: Any


ASTERISK_FIELDS: Final = {
    "uniqueid": "Of the channel; with `start` and the channels it tells a record from every other one",
    "start": "When the call began, by the phone system's clock: `2026-11-20 18:32:10`",
    "answer": "When it was answered; empty if nobody did",
    "end": "When it ended",
    "duration": "Seconds from start to end",
    "billsec": "Seconds from answer to end",
    "disposition": "`ANSWERED`, `NO ANSWER`, `BUSY`, `FAILED` or `CONGESTION`; another one is taken as `other`",
    "src": "Who called",
    "dst": "Who was called",
    "clid": 'The caller\'s name and number: `"Ada Lovelace" <+442071234567>`',
    "channel": "The caller's channel",
    "dstchannel": "The channel of who was called",
    "lastapp": "The dialplan's last application; `Voicemail` tells a mailbox from a person",
}
ASTERISK_RECORD: Final[Mapping[str, Any]] = {
    "type": "object",
    "description": "Other fields are kept as `details`. In JSON a number may stand for a text.",
    "required": ["uniqueid", "start", "duration", "billsec", "disposition"],
    "maxProperties": MAXIMUM_FIELDS,
    "properties": {name: {"type": "string", "description": text} for name, text in ASTERISK_FIELDS.items()},
    "additionalProperties": True,
}


def several(record: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an array of such records."""
    return {"type": "array", "minItems": 1, "maxItems": MAXIMUM_RECORDS, "items": dict(record)}
