"""Records with the fields of Asterisk's CDR: its own, and those of the PBXs that are built on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

from app.phone_systems.vendors.local_time import resolve
from app.phone_systems.vendors.parties import by_asterisk
from app.phone_systems.vendors.records import (
    CallRecord,
    Fields,
    UnreadableDelivery,
    key_of,
    name_of_caller,
    out_of_order,
    usable_name,
)

_DISPOSITIONS: Final = {
    "ANSWERED": "answered",
    "NO ANSWER": "no_answer",
    "BUSY": "busy",
    "FAILED": "failed",
    "CONGESTION": "failed",  # no circuit was free: the network could not place the call
}
_VOICEMAIL_APPLICATION: Final = "voicemail"


def asterisk_record(
    delivered: Mapping[str, Any],
    time_zone: ZoneInfo,
    *,
    identity: tuple[str, ...],
    linked_by: str,
    caller_name: str | None = None,
) -> CallRecord:
    """A record with Asterisk's names of fields, which the PBXs built on Asterisk share.

    identity: the fields that tell a record from every other one. linked_by: the field that a call's legs share;
    ``uniqueid`` stands in for it. caller_name: a field with the caller's name, where that is not only in ``clid``.
    Raises :class:`UnreadableDelivery` with everything that is wrong.
    """
    fields = Fields(delivered)
    unique_id = fields.text("uniqueid", required=True)
    record_key = key_of([fields.text(name) for name in identity])
    duration, talk = fields.talk_within("duration", "billsec")
    start = fields.local_time("start", required=True)
    answer, end = fields.local_time("answer"), fields.local_time("end")
    source, destination = fields.text("src"), fields.text("dst")
    linked_id, clid = fields.text(linked_by) or unique_id, fields.text("clid")
    disposition = _disposition(fields.text("disposition", required=True), fields.text("lastapp"))
    given_name = usable_name(fields.text(caller_name)) if caller_name else None
    moments = None
    if start is not None and not fields.problems:
        moments = resolve(start, answer, end, duration, talk, time_zone)
        fields.problems += out_of_order(moments)
    if moments is None or fields.problems:
        raise UnreadableDelivery(fields.problems)
    details = fields.others(but=_IN_COLUMNS | {linked_by})
    parties = by_asterisk(source, destination, details)
    return CallRecord(
        record_key=record_key,
        linked_id=linked_id,
        source=source,
        destination=destination,
        caller_name=given_name or name_of_caller(clid, source),
        started_at=moments.start,
        answered_at=moments.answer,
        ended_at=moments.end,
        duration_seconds=duration,
        talk_seconds=talk,
        disposition=disposition,
        details=details,
        direction=parties.direction,
        extension=parties.extension,
    )


_IN_COLUMNS: Final = frozenset({"src", "dst", "start", "answer", "end", "duration", "billsec"})


def _disposition(text: str, application: str) -> str:
    disposition = _DISPOSITIONS.get(text.upper().replace("_", " "), "other")
    # The PBX answers for the mailbox: nobody spoke with the caller.
    if disposition == "answered" and application.lower() == _VOICEMAIL_APPLICATION:
        return "voicemail"
    return disposition
