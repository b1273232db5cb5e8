"""What is made of FreeSWITCH's deliveries, in each of the forms that mod_json_cdr has for them."""

import json
from base64 import b64encode
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.phone_systems.vendors import VENDORS, CallRecord, MalformedDelivery, UnreadableDelivery
from app.phone_systems.vendors.freeswitch import BASE64
from app.phone_systems.vendors.records import FORM, JSON
from tests.phone_systems.vendors.test_deliveries import PARIS, json_values, read_or_refused, texts

UNSAFE = '\r\n #%&+:;<=>?@[\\]^`{|}"'
LEG: dict[str, Any] = {
    "core-uuid": "c",
    "switchname": "pbx",
    "channel_data": {"state": "CS_REPORTING", "direction": "inbound"},
    "callStats": {"audio": {"inbound": {"raw_bytes": 1000, "errorLog": []}}},
    "variables": {
        "uuid": "2f6b2a0c",
        "call_uuid": "2f6b2a0c",
        "direction": "inbound",
        "start_stamp": "2026-11-20 18:32:10",
        "start_epoch": "1795195930",
        "answer_epoch": "1795195932",
        "end_epoch": "1795195990",
        "duration": "60",
        "billsec": "58",
        "hangup_cause": "NORMAL_CLEARING",
        "last_app": "bridge",
        "sip_full_from": '"Ada Lovelace" <sip:+442071234567@192.0.2.1>;tag=x',
        "sip_from_user": "+442071234567",
    },
    "app_log": {"applications": [{"app_name": "answer", "app_data": ""}]},
    "callflow": [
        {
            "caller_profile": {
                "caller_id_name": 'Ada "the countess" Lovelace',
                "caller_id_number": "+442071234567",
                "destination_number": "100",
                "network_addr": "192.0.2.1",
            },
            "times": {"created_time": "1795195930000000"},
        },
        {"caller_profile": {"destination_number": "200"}},
    ],
}


def url_encoded(text: str) -> bytes:
    """As FreeSWITCH does it: a percent sign before two digits is taken for an encoding, and stays as it is."""
    done = b""
    raw = text.encode()
    for place, byte in enumerate(raw):
        character = chr(byte)
        is_encoding = character == "%" and len(raw[place + 1 : place + 3]) == 2
        is_encoding = is_encoding and all(chr(digit) in "0123456789ABCDEF" for digit in raw[place + 1 : place + 3])
        is_unsafe = not " " <= character <= "~" or character in UNSAFE
        done += b"%%%02X" % byte if is_unsafe and not is_encoding else bytes([byte])
    return done


def posted(leg: dict[str, Any], content_type: str, *, encode_values: bool = True) -> bytes:
    """The body that mod_json_cdr makes of a leg."""
    if encode_values and isinstance(leg.get("variables"), dict):
        variables = {
            name: url_encoded(value).decode() if isinstance(value, str) else value
            for name, value in leg["variables"].items()
        }
        leg = {**leg, "variables": variables}
    text = json.dumps(leg, separators=(",", ":"), ensure_ascii=False)
    body = text.encode("utf-8", "replace")
    return {JSON: body, FORM: b"cdr=" + url_encoded(body.decode()), BASE64: b"cdr=" + b64encode(body)}[content_type]


def leg_with(profile: dict[str, Any] | None = None, **variables: Any) -> dict[str, Any]:
    leg = deepcopy(LEG)
    leg["variables"] |= variables
    leg["callflow"][0]["caller_profile"] |= profile or {}
    return leg


def read(leg: dict[str, Any], content_type: str = JSON, *, encode_values: bool = True) -> CallRecord:
    (record,) = VENDORS["freeswitch"].parse(content_type, posted(leg, content_type, encode_values=encode_values), PARIS)
    return record


def errors_of(leg: dict[str, Any]) -> list[dict[str, str]]:
    with pytest.raises(UnreadableDelivery) as refused:
        read(leg)
    return refused.value.errors


@pytest.mark.parametrize("encode_values", [True, False])
@pytest.mark.parametrize("content_type", [JSON, FORM, BASE64])
def test_each_form_says_the_same(content_type, encode_values):
    record = read(LEG, content_type, encode_values=encode_values)
    assert record == CallRecord(
        record_key=record.record_key,
        linked_id="2f6b2a0c",
        source="+442071234567",
        destination="100",
        caller_name='Ada "the countess" Lovelace',
        started_at=datetime(2026, 11, 20, 17, 32, 10, tzinfo=UTC),
        answered_at=datetime(2026, 11, 20, 17, 32, 12, tzinfo=UTC),
        ended_at=datetime(2026, 11, 20, 17, 33, 10, tzinfo=UTC),
        duration_seconds=60,
        talk_seconds=58,
        disposition="answered",
        details={
            "caller_id_name": 'Ada "the countess" Lovelace',
            "network_addr": "192.0.2.1",
            "uuid": "2f6b2a0c",
            "call_uuid": "2f6b2a0c",
            "direction": "inbound",
            "hangup_cause": "NORMAL_CLEARING",
            "last_app": "bridge",
            "sip_from_user": "+442071234567",
        },
    )


def test_a_percent_sign_in_a_value_that_is_not_encoded_stays():
    assert read(leg_with(accountcode="50%20"), encode_values=False).details["accountcode"] == "50%20"
    assert read(leg_with(accountcode="a b&c+d")).details["accountcode"] == "a b&c+d"


def test_legs_have_a_record_each_and_one_call():
    other = leg_with(uuid="other", call_uuid="2f6b2a0c")
    assert read(other).record_key != read(LEG).record_key
    assert read(other).linked_id == read(LEG).linked_id
    assert read(leg_with(sip_from_user="x"), BASE64).record_key == read(LEG).record_key


@pytest.mark.parametrize(
    ("cause", "disposition"),
    [
        ("USER_BUSY", "busy"),
        ("CALL_REJECTED", "busy"),
        ("NO_ANSWER", "no_answer"),
        ("ORIGINATOR_CANCEL", "no_answer"),
        ("NORMAL_CLEARING", "no_answer"),
        ("LOSE_RACE", "no_answer"),
        ("USER_NOT_REGISTERED", "failed"),
        ("GATEWAY_DOWN", "failed"),
        ("UNALLOCATED_NUMBER", "failed"),
        ("NORMAL_UNSPECIFIED", "other"),
        ("", "other"),
    ],
)
def test_hangup_causes_of_legs_that_nobody_answered(cause, disposition):
    record = read(leg_with(hangup_cause=cause, answer_epoch="0", billsec="0"))
    assert (record.disposition, record.answered_at) == (disposition, None)


def test_an_answered_leg_is_answered_whatever_ended_it_but_by_the_mailbox():
    assert read(leg_with(hangup_cause="MEDIA_TIMEOUT")).disposition == "answered"
    assert read(leg_with(last_app="voicemail")).disposition == "voicemail"


def test_a_form_whose_quotes_cannot_be_told_is_refused_with_what_to_set():
    leg = leg_with(sip_full_from='sip:"Ada"')
    with pytest.raises(MalformedDelivery, match="set encode to false, or encode-values to false"):
        read(leg, FORM)
    assert read(leg, JSON).source == read(leg, FORM, encode_values=False).source == "+442071234567"


@pytest.mark.parametrize("field", ["uuid", "end_epoch", "hangup_cause"])
def test_what_a_caller_slips_into_a_form_changes_no_field(field):
    with pytest.raises(UnreadableDelivery):
        read(leg_with(sip_from_display=f'x","{field}":"0'), FORM)
    assert read(leg_with(sip_from_display=f'x","{field}":"0')).details["uuid"] == "2f6b2a0c"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("uuid", "", "is missing"),
        ("start_epoch", "0", "is missing"),
        ("start_epoch", "", "is missing"),
        ("start_epoch", "-5", "is not a time in seconds since 1970"),
        ("start_epoch", "9999999999", "is not a time in seconds since 1970"),
        ("answer_epoch", "1795195929", "is before start"),
        ("end_epoch", "1795195931", "is after end"),
        ("duration", "-1", "is not a whole number of seconds"),
        ("billsec", "62", "is more than duration"),
        ("accountcode", "x" * 10_000, "is longer than 4096 characters"),
    ],
)
def test_faults_are_named(variable, value, message):
    assert message in [error["message"] for error in errors_of(leg_with(**{variable: value}))]


def test_a_name_that_is_too_long_or_has_control_characters():
    assert errors_of(leg_with({"caller_id_name": "x" * 10_000}))[0]["field"] == "caller_id_name"
    assert read(leg_with({"caller_id_name": "A\0da\x1b"})).caller_name == "A�da�"


@pytest.mark.parametrize("callflow", [None, [], {}, [1], [{}], [{"caller_profile": []}]])
def test_without_a_profile_nobody_called_nobody(callflow):
    assert read(LEG | {"callflow": callflow}).source == ""


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (BASE64, b"cdr=not base64"),
        (BASE64, b"e30="),
        (BASE64, b"cdr=" + b64encode(b"{")),
        (FORM, b"cdr=%7B"),
        (FORM, b"x=1"),
        (JSON, b"[]"),
        (JSON, b"{}"),
        (JSON, b'{"variables": []}'),
        (JSON, b'{"variables": ' + b'{"a":' * 30_000),
    ],
)
def test_what_is_no_leg_is_refused(content_type, body):
    with pytest.raises(UnreadableDelivery):
        VENDORS["freeswitch"].parse(content_type, body, PARIS)


names = st.sampled_from(sorted(LEG["variables"])) | st.text(max_size=5)


@settings(deadline=None)
@given(
    variables=st.dictionaries(names, json_values | texts, max_size=6),
    profile=st.dictionaries(st.sampled_from(["caller_id_name", "caller_id_number"]), json_values),
    content_type=st.sampled_from([JSON, FORM, BASE64]),
    encode_values=st.booleans(),
)
def test_whatever_a_leg_has_it_is_read_or_refused(variables, profile, content_type, encode_values):
    leg = json.loads(json.dumps(leg_with(profile, **variables), allow_nan=True).replace("NaN", "0"))
    leg = json.loads(json.dumps(leg, ensure_ascii=False).encode("utf-8", "replace"))
    read_or_refused("freeswitch", content_type, posted(leg, content_type, encode_values=encode_values), "UTC")
