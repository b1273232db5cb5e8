"""What the vendors make of deliveries: captured ones, ones with faults, and whatever hypothesis thinks of."""

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.phone_systems.vendors import VENDORS, CallRecord, MalformedDelivery, UnreadableDelivery
from app.phone_systems.vendors.records import FORM, JSON, name_of_caller
from tests.data import captured_body, captured_events

PARIS = ZoneInfo("Europe/Paris")
ANSWERED = dict(parse_qsl(captured_body("asterisk/answered.http").decode(), keep_blank_values=True))
UCM = {
    "AcctId": "62",
    "accountcode": "",
    "src": "5300",
    "dst": "5301",
    "dcontext": "from-internal",
    "clid": '"pn01" <5300>',
    "channel": "SIP/5300-00000000",
    "dstchannel": "SIP/5301-00000001",
    "lastapp": "Dial",
    "lastdata": "SIP/5301,60,",
    "start": "2013-12-03 11:46:40",
    "answer": "2013-12-03 11:46:43",
    "end": "2013-12-03 11:46:49",
    "duration": "9",
    "billsec": "6",
    "disposition": "ANSWERED",
    "amaflags": "DOCUMENTATION",
    "uniqueid": "1386092800.0",
    "userfield": "EXT",
    "channel_ext": "5300",
    "dstchannel_ext": "5301",
    "service": "s",
}


def asterisk(time_zone: ZoneInfo = PARIS, **changed: str) -> CallRecord:
    (record,) = VENDORS["asterisk"].parse(FORM, urlencode(ANSWERED | changed).encode(), time_zone)
    return record


def grandstream(**changed: object) -> CallRecord:
    (record,) = VENDORS["grandstream"].parse(JSON, json.dumps(UCM | changed).encode(), PARIS)
    return record


def errors_of(**changed: str) -> list[dict[str, str]]:
    with pytest.raises(UnreadableDelivery) as refused:
        asterisk(**changed)
    return refused.value.errors


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def test_an_answered_call_that_asterisk_posted():
    (record,) = VENDORS["asterisk"].parse(FORM, captured_body("asterisk/answered.http"), PARIS)
    assert record == CallRecord(
        record_key=record.record_key,
        linked_id="1795199530.0",
        source="+442071234567",
        destination="100",
        caller_name="Ada Lovelace",
        started_at=utc(2026, 11, 20, 17, 32, 10),
        answered_at=utc(2026, 11, 20, 17, 32, 10),
        ended_at=utc(2026, 11, 20, 17, 32, 12),
        duration_seconds=2,
        talk_seconds=2,
        disposition="answered",
        details={
            "dcontext": "test",
            "clid": '"Ada Lovelace" <+442071234567>',
            "channel": "Local/100@test-00000000;2",
            "lastapp": "Hangup",
            "disposition": "ANSWERED",
            "amaflags": "DOCUMENTATION",
            "uniqueid": "1795199530.1",
        },
        direction="inbound",
        extension="100",
    )


def test_a_busy_call_that_asterisk_posted():
    (record,) = VENDORS["asterisk"].parse(FORM, captured_body("asterisk/busy.http"), PARIS)
    assert (record.disposition, record.caller_name) == ("busy", "O Brien, Pat")
    assert (record.answered_at, record.talk_seconds) == (None, 0)


def test_asterisk_may_post_json_instead_of_a_form():
    (record,) = VENDORS["asterisk"].parse(JSON, json.dumps(ANSWERED | {"duration": 2}).encode(), PARIS)
    assert record == asterisk()


AMI = captured_events("asterisk/ami-cdr-events.txt")


@pytest.mark.parametrize("content_type", [FORM, JSON])
def test_a_managers_event_is_the_same_record_as_the_one_that_was_posted(content_type):
    event = next(event for event in AMI if event["UniqueID"] == ANSWERED["uniqueid"])
    body = urlencode(event) if content_type == FORM else json.dumps(event)
    (record,) = VENDORS["asterisk"].parse(content_type, body.encode(), PARIS)
    # Without a mapping in cdr_manager.conf an event does not say which call its leg is of.
    assert record == replace(asterisk(), linked_id="1795199530.1")
    (mapped,) = VENDORS["asterisk"].parse(JSON, json.dumps(event | {"LinkedID": "1795199530.0"}).encode(), PARIS)
    assert mapped == asterisk()


def test_several_events_of_a_manager_are_as_many_records():
    records = VENDORS["asterisk"].parse(JSON, json.dumps(AMI).encode(), PARIS)
    assert [record.disposition for record in records] == ["busy", "busy", "answered", "answered"]
    assert len({record.record_key for record in records}) == 4
    assert {record.caller_name for record in records} == {"O Brien, Pat", "Ada Lovelace"}


@pytest.mark.parametrize("several", [[UCM, UCM | {"AcctId": "63"}], {"cdr": [UCM, UCM | {"AcctId": "63"}]}])
def test_a_grandstream_may_deliver_several_records(several):
    records = VENDORS["grandstream"].parse(JSON, json.dumps(several).encode(), PARIS)
    assert [record.details["AcctId"] for record in records] == ["62", "63"]


def test_one_record_that_is_wrong_refuses_all_and_is_named():
    with pytest.raises(UnreadableDelivery) as refused:
        VENDORS["grandstream"].parse(JSON, json.dumps([UCM, UCM | {"duration": "-1"}, 7]).encode(), PARIS)
    assert refused.value.errors == [
        {"field": "duration", "message": "is not a whole number of seconds, in record 2"},
        {"field": "", "message": "is not an object, in record 3"},
    ]


@pytest.mark.parametrize("delivered", [[], [{}] * 501, {"cdr": []}])
def test_a_delivery_has_from_1_to_500_records(delivered):
    with pytest.raises(UnreadableDelivery, match="does not have from 1 to 500 records"):
        VENDORS["grandstream"].parse(JSON, json.dumps(delivered).encode(), PARIS)


def test_only_so_much_of_what_is_wrong_is_told():
    with pytest.raises(UnreadableDelivery) as refused:
        VENDORS["asterisk"].parse(JSON, json.dumps([{}] * 500).encode(), PARIS)
    assert len(refused.value.errors) == 20


def test_a_call_that_grandstream_posted():
    record = grandstream()
    assert (record.source, record.destination, record.caller_name) == ("5300", "5301", "pn01")
    assert (record.started_at, record.talk_seconds) == (utc(2013, 12, 3, 10, 46, 40), 6)
    assert (record.linked_id, record.details["AcctId"], record.details["userfield"]) == ("1386092800.0", "62", "EXT")


def test_grandstream_sends_numbers_as_text_or_as_numbers_and_zeros_for_no_answer():
    record = grandstream(AcctId=62, duration=9, billsec=0, answer="0000-00-00 00:00:00", disposition="NO ANSWER")
    assert (record.record_key, record.answered_at) == (grandstream().record_key, None)
    assert (record.duration_seconds, record.disposition) == (9, "no_answer")


def test_grandstream_ties_legs_by_session_and_may_put_a_recording_where_the_caller_belongs():
    assert grandstream(session="1386092800-1").linked_id == "1386092800-1"
    assert grandstream(caller_name="Ada").caller_name == "Ada"
    assert grandstream(caller_name="2013-12/auto-1386092800.wav@").caller_name == "pn01"


@pytest.mark.parametrize("field", ["uniqueid", "start", "channel", "dstchannel"])
def test_records_of_one_channel_are_told_apart_by(field):
    other = {"start": "2026-11-20 18:32:09"}.get(field, "other")
    assert asterisk(**{field: other}).record_key != asterisk().record_key


def test_a_record_delivered_again_has_the_same_key_whatever_zone_was_configured_meanwhile():
    assert asterisk(ZoneInfo("Asia/Tokyo"), userfield="again").record_key == asterisk().record_key


def test_a_grandstream_record_is_told_apart_by_its_number():
    assert grandstream(AcctId="63").record_key != grandstream().record_key


@pytest.mark.parametrize(
    ("delivered", "stored"),
    [
        ("ANSWERED", "answered"),
        ("NO ANSWER", "no_answer"),
        ("BUSY", "busy"),
        ("FAILED", "failed"),
        ("CONGESTION", "failed"),
        ("SOMETHING NEW", "other"),
    ],
)
def test_dispositions(delivered, stored):
    assert asterisk(disposition=delivered).disposition == stored


def test_a_call_that_the_mailbox_answered_is_no_answered_call():
    assert asterisk(lastapp="VoiceMail").disposition == "voicemail"
    assert asterisk(lastapp="VoiceMail", disposition="NO ANSWER").disposition == "no_answer"


@pytest.mark.parametrize(
    ("caller_id", "name"),
    [
        ('"Ada Lovelace" <+442071234567>', "Ada Lovelace"),
        ("Ada Lovelace <+442071234567>", "Ada Lovelace"),
        ('"Ada "the countess" Lovelace" <100>', 'Ada "the countess" Lovelace'),
        ("<100>", None),
        ('"" <100>', None),
        ('"100" <100>', None),
        ("100", None),
        ('"', '"'),
        ("", None),
        ("Ada", "Ada"),
    ],
)
def test_names_of_callers(caller_id, name):
    assert name_of_caller(caller_id, "100") == name


def test_control_characters_are_replaced_and_a_name_in_another_encoding_is_no_obstacle():
    assert asterisk(src="1\0002\n3\x7f").source == "1�2�3�"
    (record,) = VENDORS["asterisk"].parse(
        FORM, urlencode(ANSWERED | {"clid": '"José" <1>'}, encoding="latin-1").encode(), PARIS
    )
    assert record.caller_name == "Jos�"
    (record,) = VENDORS["asterisk"].parse(JSON, json.dumps(ANSWERED | {"clid": "half \ud83d"}).encode(), PARIS)
    assert record.caller_name == "half �"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("uniqueid", "", "is missing"),
        ("uniqueid", " ", "is missing"),
        ("start", "", "is missing"),
        ("start", "0000-00-00 00:00:00", "is missing"),
        ("start", "20.11.2026 18:32", "is not a time such as 2026-11-20 18:32:10"),
        ("start", "2026-02-30 18:32:10", "is not a time such as 2026-11-20 18:32:10"),
        ("start", "2026-11-20 18:32:10+01:00", "is not a time such as 2026-11-20 18:32:10"),
        ("start", "0001-01-01 00:00:00", "is not a time such as 2026-11-20 18:32:10"),
        ("end", "2026-11-20 18:32:09", "is before start"),
        ("answer", "2026-11-20 18:32:09", "is before start"),
        ("answer", "2026-11-20 18:32:13", "is after end"),
        ("duration", "", "is missing"),
        ("duration", "-1", "is not a whole number of seconds"),
        ("duration", "1.5", "is not a whole number of seconds"),
        ("duration", "٣", "is not a whole number of seconds"),
        ("duration", "9" * 5000, "is longer than 4096 characters"),
        ("duration", "2678401", "is more than 2678400 seconds"),
        ("billsec", "4", "is more than duration"),
        ("disposition", "", "is missing"),
        ("src", "1" * 256, "is longer than 255 characters"),
        ("userfield", "1" * 4097, "is longer than 4096 characters"),
        ("x" * 256, "1", "the name of a field is longer than 255 characters"),
    ],
)
def test_faults_are_named(field, value, message):
    expected = {"field": "" if len(field) > 255 else field, "message": message}
    assert expected in errors_of(**{field: value})


def test_all_faults_are_reported_at_once():
    errors = errors_of(uniqueid="", start="x", duration="-1", billsec="x", disposition="")
    assert {error["field"] for error in errors} == {"uniqueid", "start", "duration", "billsec", "disposition"}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, b""),
        (JSON, b"{"),
        (JSON, b'{"src": 1, "src": 2}'),
        (JSON, b'{"duration": NaN}'),
        (JSON, b"[" * 50_000),
        (JSON, b'{"duration": ' + b"9" * 5000 + b"}"),
        (FORM, b"src=1&src=2"),
    ],
)
def test_a_body_that_is_not_in_its_format_is_malformed(content_type, body):
    with pytest.raises(MalformedDelivery):
        VENDORS["asterisk"].parse(content_type, body, PARIS)


@pytest.mark.parametrize("body", [b"[[]]", b"null", b'"text"', b"1"])
def test_json_that_is_no_object_is_unreadable(body):
    with pytest.raises(UnreadableDelivery, match="is not an object"):
        VENDORS["grandstream"].parse(JSON, body, PARIS)


def test_too_many_fields_are_refused():
    with pytest.raises(UnreadableDelivery, match="more than 100 fields"):
        asterisk(**{f"x{number}": "1" for number in range(100)})


texts = st.text() | st.sampled_from(["", "0", "-1", "9" * 5000, "1e999", "x" * 10_000, "\0\x1b", "0000-00-00 00:00:00"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts, lambda inner: st.lists(inner, max_size=3)
)
field_names = st.sampled_from(sorted({*ANSWERED, *UCM})) | st.text(max_size=5)
time_zones = st.sampled_from(["UTC", "Europe/Paris", "Australia/Lord_Howe", "America/New_York", "Pacific/Apia"])


@pytest.mark.parametrize("vendor", sorted(VENDORS))
@settings(deadline=None)
@given(data=st.data())
def test_whatever_is_delivered_it_is_read_or_refused(vendor, data):
    content_type = data.draw(st.sampled_from(sorted(VENDORS[vendor].CONTENT_TYPES)))
    values = texts | st.datetimes().map(str) if content_type == FORM else json_values
    fields = UCM | data.draw(st.dictionaries(field_names, values, max_size=6))
    body = urlencode(fields, errors="replace") if content_type == FORM else json.dumps(fields)
    read_or_refused(vendor, content_type, body.encode(), data.draw(time_zones))


@pytest.mark.parametrize("vendor", sorted(VENDORS))
@settings(deadline=None)
@given(body=st.binary(), content_type=st.sampled_from([FORM, JSON]))
def test_bytes_that_mean_nothing_are_refused(vendor, body, content_type):
    with pytest.raises(UnreadableDelivery):
        VENDORS[vendor].parse(content_type, body, PARIS)


@settings(deadline=None)
@given(start=st.datetimes(datetime(1970, 1, 1), datetime(2199, 12, 31)), zone=time_zones)
def test_times_of_all_zones_are_read(start, zone):
    text = str(start.replace(microsecond=0))
    record = asterisk(ZoneInfo(zone), start=text, answer=text, end=text, duration="0", billsec="0")
    assert record.started_at == record.answered_at == record.ended_at


def read_or_refused(vendor: str, content_type: str, body: bytes, zone: str) -> None:
    records: list[CallRecord] = []
    with suppress(UnreadableDelivery):
        records = VENDORS[vendor].parse(content_type, body, ZoneInfo(zone))
    for record in records:
        texts = [record.source, record.destination, record.caller_name or "", *record.details, *record.details.values()]
        assert all("\0" not in text and text.encode() is not None for text in texts)
        assert 0 <= record.duration_seconds < 2**31
        assert record.started_at.tzinfo is UTC
