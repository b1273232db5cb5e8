"""What every vendor's deliveries are turned into, and how their fields are read and judged."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from app import strict_json
from app.phone_systems.vendors.local_time import Moments, read_local_time

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"

MAXIMUM_RECORDS: Final = 500  # of one delivery
MAXIMUM_FAULTS: Final = 20  # of a delivery with several records that are told
MAXIMUM_FIELDS: Final = 100
MAXIMUM_TEXT: Final = 255  # characters of a field that becomes a column; Asterisk's own are 80, a unique id 150
MAXIMUM_DETAIL: Final = 4096  # characters of any other field
MAXIMUM_SECONDS: Final = 31 * 24 * 3600  # no call takes longer than a month; far below what 32 bits hold

# NUL, which PostgreSQL cannot store, every other control character, and halves of surrogate pairs, which are no text.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_LAST_SECOND: Final = int(datetime(2199, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


class UnreadableDelivery(Exception):
    """A delivery that is not understood, of which nothing is to be stored.

    errors: ``{"field": …, "message": …}`` for everything that is wrong. No message repeats what was delivered.
    """

    def __init__(self, errors: Iterable[tuple[str, str]]) -> None:
        self.errors = [{"field": field, "message": message} for field, message in dict.fromkeys(errors)]
        super().__init__("; ".join(f"{error['field']}: {error['message']}" for error in self.errors))


class MalformedDelivery(UnreadableDelivery):
    """The body is not even in the format that its content type names. ``errors`` has one entry, of no field."""

    def __init__(self, message: str) -> None:
        super().__init__([("", message)])


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One record, which is one leg of a call, with the same meaning whoever made the PBX.

    record_key: the same for the same record delivered again, different for every other one of its phone system.
    linked_id: what the legs of one call have in common.
    started_at, answered_at, ended_at: aware, in UTC, whole seconds. talk_seconds counts from the answer.
    disposition: answered, no_answer, busy, failed, voicemail or other.
    details: the fields that no other attribute holds in full, as delivered, as text; empty ones are left out.
    direction: inbound, outbound, internal or unknown; None where the phone system says no more of it than the numbers.
    extension: the one that took part, see :mod:`parties`; None if there is none, or it is not said.
    """

    record_key: str
    linked_id: str | None
    source: str
    destination: str
    caller_name: str | None
    started_at: datetime
    answered_at: datetime | None
    ended_at: datetime | None
    duration_seconds: int
    talk_seconds: int
    disposition: str
    details: dict[str, str]
    direction: str | None = None
    extension: str | None = None


class Fields:
    """The fields of one delivered record. Reading notes what is wrong and goes on, so that all is reported at once.

    Every text is printable: control characters are replaced by U+FFFD, blanks around it are removed.
    """

    def __init__(self, delivered: Mapping[str, Any]) -> None:
        self.problems: list[tuple[str, str]] = []
        self._texts: dict[str, str] = {}
        if len(delivered) > MAXIMUM_FIELDS:
            raise UnreadableDelivery([("", f"has more than {MAXIMUM_FIELDS} fields")])
        for given_name, value in delivered.items():
            name = printable(given_name)
            if len(name) > MAXIMUM_TEXT:
                self._wrong("", f"the name of a field is longer than {MAXIMUM_TEXT} characters")
            elif len(text := _as_text(value)) > MAXIMUM_DETAIL:
                self._wrong(name, f"is longer than {MAXIMUM_DETAIL} characters")
            else:
                self._texts[name] = text

    def text(self, name: str, *, required: bool = False) -> str:
        """The field's text, "" if it is missing. ``required`` asks that the field is there and not empty."""
        text = self._texts.get(name, "")
        if required and not text:
            self._wrong(name, "is missing")
        if len(text) > MAXIMUM_TEXT:
            self._wrong(name, f"is longer than {MAXIMUM_TEXT} characters")
        return text

    def seconds(self, name: str) -> int:
        """A whole number of seconds."""
        text = self.text(name, required=True)
        if text and not _NUMBER.fullmatch(text):
            self._wrong(name, "is not a whole number of seconds")
        elif text and int(text) > MAXIMUM_SECONDS:
            self._wrong(name, f"is more than {MAXIMUM_SECONDS} seconds")
        elif text:
            return int(text)
        return 0

    def local_time(self, name: str, *, required: bool = False) -> datetime | None:
        """A time of the PBX's clock, without a zone. Empty, or all zeros, is None."""
        text = self.text(name, required=required)
        try:
            found = read_local_time(text)
        except ValueError as error:
            self._wrong(name, str(error))
            return None
        if required and text and found is None:
            self._wrong(name, "is missing")
        return found

    def epoch(self, name: str, *, required: bool = False) -> datetime | None:
        """A time in seconds since 1970, aware, up to 2199. Empty, or 0, is None."""
        text = self.text(name, required=required)
        if text and not (_NUMBER.fullmatch(text) and int(text) <= _LAST_SECOND):
            self._wrong(name, "is not a time in seconds since 1970")
            return None
        if required and text and int(text) == 0:
            self._wrong(name, "is missing")
        return datetime.fromtimestamp(int(text), UTC) if text and int(text) else None

    def talk_within(self, duration: str, talk: str) -> tuple[int, int]:
        """Two whole numbers of seconds, the second of them a part of the first."""
        whole, part = self.seconds(duration), self.seconds(talk)
        # A PBX may round the time of talk up and that of the call down.
        if part > whole + 1 and not self.problems:
            self._wrong(talk, f"is more than {duration}")
        return whole, part

    def others(self, but: frozenset[str]) -> dict[str, str]:
        """All fields that are not empty, without those named."""
        return {name: text for name, text in self._texts.items() if text and name not in but}

    def _wrong(self, name: str, message: str) -> None:
        self.problems.append((name, message))


def decode(content_type: str, body: bytes) -> Any:
    """A body that is a form, as its fields, or JSON, as what it holds. Raises :class:`MalformedDelivery`."""
    text = body.decode("utf-8", "replace")  # a caller's name comes from any network, in any encoding
    try:
        if content_type != FORM:
            return strict_json.loads(text)
        pairs = parse_qsl(text, keep_blank_values=True, errors="replace")
    except ValueError:
        raise MalformedDelivery("is not in the format that its Content-Type names") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise MalformedDelivery("has the same field twice")
    return fields


def as_object(delivered: Any, field: str = "") -> Mapping[str, Any]:
    """``delivered`` if it is an object. Raises :class:`UnreadableDelivery`, which says it of ``field``."""
    if not isinstance(delivered, dict):
        raise UnreadableDelivery([(field, "is not an object")])
    return delivered


def read_each(delivered: Any, read: Callable[[Mapping[str, Any]], CallRecord]) -> list[CallRecord]:
    """The records of a delivery that is one, as an object, or an array of several. ``read`` reads one.

    One that cannot be read refuses them all, so that the sender keeps what it has: raises :class:`UnreadableDelivery`
    with what is wrong, and in which of several.
    """
    if not isinstance(delivered, list):
        return [read(as_object(delivered))]
    if not 0 < len(delivered) <= MAXIMUM_RECORDS:
        raise UnreadableDelivery([("", f"does not have from 1 to {MAXIMUM_RECORDS} records")])
    records: list[CallRecord] = []
    faults: list[tuple[str, str]] = []
    for number, one in enumerate(delivered, 1):
        try:
            records.append(read(as_object(one)))
        except UnreadableDelivery as unreadable:
            faults += [(error["field"], f"{error['message']}, in record {number}") for error in unreadable.errors]
        if len(faults) > MAXIMUM_FAULTS:
            break
    if faults:
        raise UnreadableDelivery(faults[:MAXIMUM_FAULTS])
    return records


def name_of_caller(caller_id: str, number: str) -> str | None:
    """The name in ``"Ada Lovelace" <+442071234567>``; None where there is none, or only the ``number`` again."""
    name = caller_id
    if caller_id.endswith(">"):
        name, _, number = caller_id[:-1].rpartition("<")
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1].strip()
    return usable_name(name) if name != number.strip() else None


def usable_name(text: str) -> str | None:
    """``text`` if it can be a caller's name: some firmware puts the path of a recording there."""
    return None if not text or "/" in text or text.lower().endswith((".wav", ".mp3")) else text


def printable(text: str) -> str:
    """``text`` with each control character and half surrogate pair replaced, without blanks around it."""
    text = text.strip()
    return text if text.isprintable() else _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _as_text(value: Any) -> str:
    """A delivered value as text; what JSON nests stays JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return printable(value)
    try:
        return json.dumps(value, separators=(",", ":"))
    except RecursionError:  # what could just be read
        raise MalformedDelivery("is nested too deeply") from None


def key_of(identity: list[str]) -> str:
    """128 bits of BLAKE2b over the fields, as 32 hex digits: of one length, however long the fields are."""
    return hashlib.blake2b(json.dumps(identity).encode(), digest_size=16).hexdigest()


def out_of_order(moments: Moments) -> Iterable[tuple[str, str]]:
    """What is wrong with moments that contradict each other, by the names that Asterisk has for them."""
    if moments.end is not None and moments.end < moments.start:
        yield "end", "is before start"
    if moments.answer is not None and moments.answer < moments.start:
        yield "answer", "is before start"
    if moments.answer is not None and moments.end is not None and moments.end < moments.answer:
        yield "answer", "is after end"
