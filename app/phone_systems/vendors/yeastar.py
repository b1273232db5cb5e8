"""Yeastar P-Series: the event 30012, "Call End Details", which its "Webhook Event Push" posts.

A delivery is ``{"type": 30012, "sn": …, "msg": …}`` (Yeastar P-Series Developer Guide). ``msg`` has the record: an
object in the guide's table, the same as JSON in a string in its example, and as PBXs were seen to send it. Times are
local and without a zone. When the call was answered is not told: it follows from the durations, both of which count to
the call's end.

What tells records apart: ``uid``, which older firmware does not send, so ``call_id``, the time and both parties are
taken as well. ``call_id`` ties the legs of a call.

The PBX makes the secret, 32 characters, and signs each body with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from app import strict_json
from app.phone_systems.vendors import authentication
from app.phone_systems.vendors.described import Body
from app.phone_systems.vendors.local_time import resolve
from app.phone_systems.vendors.records import (
    JSON,
    CallRecord,
    Fields,
    UnreadableDelivery,
    as_object,
    decode,
    key_of,
    usable_name,
)
from app.phone_systems.vendors.set_up import PASSWORD_HERE, Entry, SetUp, Step

LABEL: Final = "Yeastar P-Series"
AUTHENTICATION: Final = authentication.SIGNATURE
CALL_ENDED: Final = 30012
EXAMPLE: Final[Mapping[str, Any]] = {
    "type": CALL_ENDED,
    "sn": "3631A2124000",
    "msg": '{"call_id":"1795199530.362","time_start":"2026-11-20 18:32:10","call_from":"+442071234567","call_to":"100",'
    '"call_duration":60,"talk_duration":58,"src_trunk_name":"Trunk","dst_trunk_name":"","pin_code":"",'
    '"status":"ANSWERED","type":"Inbound","recording":"","did_number":"442079460000","agent_ring_time":0,'
    '"uid":"20261120183210D5F8F","call_note_id":"","enb_call_note":1}',
}
BODIES: Final = {
    JSON: Body(
        {
            "type": "object",
            "required": ["type", "msg"],
            "properties": {
                "type": {"const": CALL_ENDED, "description": "Call End Details; no other event is taken"},
                "sn": {"type": "string"},
                "msg": {"anyOf": [{"type": "string"}, {"type": "object"}], "description": "The record, or its JSON"},
            },
        },
        EXAMPLE,
    )
}
CONTENT_TYPES: Final = frozenset(BODIES)
IDENTITY: Final = ("uid", "call_id", "time_start", "call_from", "call_to")

_IN_COLUMNS: Final = frozenset({"call_to", "time_start", "call_duration", "talk_duration"})
FIELDS: Final = frozenset({"type", "msg", "status", *IDENTITY, *_IN_COLUMNS})

_DISPOSITIONS: Final = {
    "ANSWERED": "answered",
    "ANSWERD": "answered",  # as the guide spells it
    "NO ANSWER": "no_answer",
    "ABANDONED": "no_answer",  # by who waited in a queue
    "BUSY": "busy",
    "FAILED": "failed",
    "VOICEMAIL": "voicemail",
}


def parse(content_type: str, body: bytes, time_zone: ZoneInfo) -> list[CallRecord]:
    """The one record of a delivery. Raises :class:`~records.UnreadableDelivery`."""
    event = as_object(decode(content_type, body))
    if event.get("type") not in (CALL_ENDED, str(CALL_ENDED)):
        raise UnreadableDelivery([("type", f"is not {CALL_ENDED}, Call End Details")])
    message = as_object(_message(event.get("msg")), "msg")
    return [_record(Fields({**message, "sn": event.get("sn")}), time_zone)]


def _message(given: Any) -> Any:
    try:
        return strict_json.loads(given) if isinstance(given, str) else given
    except ValueError:
        raise UnreadableDelivery([("msg", "is not JSON")]) from None


def _record(fields: Fields, time_zone: ZoneInfo) -> CallRecord:
    record_key = key_of([fields.text(name) for name in IDENTITY])
    call_id, start = fields.text("call_id", required=True), fields.local_time("time_start", required=True)
    duration, talk = fields.talk_within("call_duration", "talk_duration")
    source, caller_name = _party(fields.text("call_from"))
    destination, _ = _party(fields.text("call_to"))
    status = fields.text("status", required=True)
    disposition = _DISPOSITIONS.get(status.upper().replace("_", " "), "other")
    started_at = resolve(start, None, None, duration, talk, time_zone).start if start is not None else None
    if started_at is None or fields.problems:
        raise UnreadableDelivery(fields.problems)
    return CallRecord(
        record_key=record_key,
        linked_id=call_id,
        source=source,
        destination=destination,
        caller_name=caller_name,
        started_at=started_at,
        answered_at=_answered_at(started_at, duration, talk, disposition),
        ended_at=started_at + timedelta(seconds=duration),
        duration_seconds=duration,
        talk_seconds=talk,
        disposition=disposition,
        details=fields.others(but=_IN_COLUMNS),
    )


def _answered_at(started_at: datetime, duration: int, talk: int, disposition: str) -> datetime | None:
    """As many seconds before the end as there was talk."""
    if disposition == "answered" or (disposition == "voicemail" and talk):
        return started_at + timedelta(seconds=max(duration - talk, 0))
    return None


def _party(text: str) -> tuple[str, str | None]:
    """The number and the name in ``Ada Lovelace<100>``; most often there is the number alone."""
    if not text.endswith(">"):
        return text, None
    name, _, number = text[:-1].rpartition("<")
    number, name = number.strip(), name.strip()
    return number, usable_name(name) if name != number else None


def set_up(url: str, username: str, password: str = PASSWORD_HERE) -> SetUp:
    """How to make it deliver to ``url``. Its secret goes the other way: from there to us."""
    return SetUp(
        (
            Step(
                "In the web portal of the PBX open Integrations, API, and enable API and Webhook Event Push. It needs "
                "firmware 37.20.0.21 (appliance), 83.20.0.21 (software) or 84.20.0.21 (cloud), or newer."
            ),
            Step(
                "Add a webhook with this.",
                entries=(
                    Entry("Webhook URL", url),
                    Entry("Request Method", "POST", is_chosen=True),
                    Entry("Event", "(30012) Call End Details", is_chosen=True),
                ),
            ),
            Step(
                "Copy the Secret that the PBX shows there, 32 characters, and enter it here, as the webhook secret of "
                "this phone system. Then save the webhook at the PBX."
            ),
            Step("Make a call, and hang up."),
        ),
        "If no record comes: does the PBX reach the webhook URL, and is the secret the one that it shows now? Choose "
        "no other event: AudiaPro takes the ends of calls alone, and says of the PBX's test message that it is none.",
    )
