"""What is made of the deliveries of a Yeastar P-Series."""

import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.phone_systems.vendors import VENDORS, CallRecord, UnreadableDelivery
from app.phone_systems.vendors.records import JSON
from tests.phone_systems.vendors.test_deliveries import PARIS, json_values, read_or_refused, texts, time_zones

MESSAGE: dict[str, Any] = {
    "call_id": "1651057476.362",
    "time_start": "2022-04-27 19:04:36",
    "call_from": "2005",
    "call_to": "2002",
    "call_duration": 24,
    "talk_duration": 21,
    "src_trunk_name": " ",
    "dst_trunk_name": " ",
    "pin_code": " ",
    "status": "ANSWERED",
    "type": "Internal",
    "recording": "20220427190445-1651057476.362-2005-2002-Internal.wav",
    "did_number": " ",
    "agent_ring_time": 0,
    "uid": "20220427190436A1B2C",
}


def event(message: Any, **changed: Any) -> bytes:
    return json.dumps({"type": 30012, "sn": "3631A2124000", "msg": message} | changed).encode()


def read(zone: ZoneInfo = PARIS, **changed: Any) -> CallRecord:
    (record,) = VENDORS["yeastar"].parse(JSON, event(json.dumps(MESSAGE | changed)), zone)
    return record


def errors_of(body: bytes) -> list[dict[str, str]]:
    with pytest.raises(UnreadableDelivery) as refused:
        VENDORS["yeastar"].parse(JSON, body, PARIS)
    return refused.value.errors


def test_the_call_of_the_vendors_guide():
    record = read()
    assert record == CallRecord(
        record_key=record.record_key,
        linked_id="1651057476.362",
        source="2005",
        destination="2002",
        caller_name=None,
        started_at=datetime(2022, 4, 27, 17, 4, 36, tzinfo=UTC),
        answered_at=datetime(2022, 4, 27, 17, 4, 39, tzinfo=UTC),
        ended_at=datetime(2022, 4, 27, 17, 5, 0, tzinfo=UTC),
        duration_seconds=24,
        talk_seconds=21,
        disposition="answered",
        details={
            "call_id": "1651057476.362",
            "call_from": "2005",
            "status": "ANSWERED",
            "type": "Internal",
            "recording": "20220427190445-1651057476.362-2005-2002-Internal.wav",
            "agent_ring_time": "0",
            "uid": "20220427190436A1B2C",
            "sn": "3631A2124000",
        },
    )


def test_the_message_may_be_an_object_and_its_numbers_text():
    vendor = VENDORS["yeastar"]
    assert vendor.parse(JSON, event(MESSAGE), PARIS) == [read()]
    assert vendor.parse(JSON, event(MESSAGE | {"call_duration": "24"}, type="30012"), PARIS) == [read()]


@pytest.mark.parametrize(
    ("status", "talk", "disposition", "is_answered"),
    [
        ("ANSWERED", 0, "answered", True),
        ("ANSWERD", 1, "answered", True),
        ("NO ANSWER", 0, "no_answer", False),
        ("NO_ANSWER", 0, "no_answer", False),
        ("ABANDONED", 0, "no_answer", False),
        ("busy", 0, "busy", False),
        ("FAILED", 0, "failed", False),
        ("VOICEMAIL", 11, "voicemail", True),
        ("VOICEMAIL", 0, "voicemail", False),
        ("SOMETHING NEW", 0, "other", False),
    ],
)
def test_words_for_how_a_call_ended(status, talk, disposition, is_answered):
    record = read(status=status, talk_duration=talk)
    assert (record.disposition, record.answered_at is not None) == (disposition, is_answered)


@pytest.mark.parametrize("field", ["uid", "call_id", "call_from", "call_to", "time_start"])
def test_records_are_told_apart_by(field):
    other = {"time_start": "2022-04-27 19:04:35"}.get(field, "other")
    assert read(**{field: other}).record_key != read().record_key
    assert read(call_duration=30, recording="").record_key == read(ZoneInfo("Asia/Tokyo")).record_key


def test_a_party_may_have_a_name():
    record = read(call_from="Ada Lovelace<2005>", call_to="Queue<6400>")
    assert (record.source, record.caller_name, record.destination) == ("2005", "Ada Lovelace", "6400")
    assert read(call_from="0745150974<0745150974>").caller_name is None


def test_a_call_across_a_change_of_the_clock_is_as_long_as_it_was():
    record = read(ZoneInfo("Europe/Berlin"), time_start="2026-10-25 02:50:00", call_duration=1800, talk_duration=1800)
    assert record.ended_at is not None
    assert (record.ended_at - record.started_at).total_seconds() == 1800


def test_other_events_are_no_calls():
    assert errors_of(event(MESSAGE, type=30011)) == [{"field": "type", "message": "is not 30012, Call End Details"}]


@pytest.mark.parametrize("message", ["{", "[]", "[" * 50_000, None, [], 1, "1"])
def test_a_message_that_is_no_object(message):
    assert errors_of(event(message))[0]["field"] == "msg"


def test_nesting_without_end_is_refused():
    assert errors_of(b'{"type": ' + b"[" * 900 + b"]" * 900 + b"}")[0]["field"] == "type"
    assert errors_of(b'{"type": ' + b"[" * 50_000)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("call_id", "", "is missing"),
        ("time_start", "2022-02-30 19:04:36", "is not a time such as 2026-11-20 18:32:10"),
        ("time_start", "", "is missing"),
        ("call_duration", -1, "is not a whole number of seconds"),
        ("call_duration", 10**9, "is more than 2678400 seconds"),
        ("talk_duration", 30, "is more than call_duration"),
        ("status", "", "is missing"),
        ("call_from", "x" * 10_000, "is longer than 4096 characters"),
    ],
)
def test_faults_are_named(field, value, message):
    assert {"field": field, "message": message} in errors_of(event(MESSAGE | {field: value}))


names = st.sampled_from(sorted(MESSAGE)) | st.text(max_size=5)


@settings(deadline=None)
@given(fields=st.dictionaries(names, json_values | texts, max_size=6), as_text=st.booleans(), zone=time_zones)
def test_whatever_is_in_the_message_it_is_read_or_refused(fields, as_text, zone):
    message = MESSAGE | fields
    read_or_refused("yeastar", JSON, event(json.dumps(message) if as_text else message), zone)
