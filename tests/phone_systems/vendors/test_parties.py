"""Which way a leg went, and whose extension took part, by what a phone system says or by the numbers alone."""

import json
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.phone_systems.vendors import VENDORS
from app.phone_systems.vendors.parties import by_asterisk, by_numbers
from app.phone_systems.vendors.records import FORM, JSON
from tests.data import captured_body

LONDON, NATIONAL = "+442071234567", "02071234567"


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        (LONDON, "100", ("inbound", "100")),
        (NATIONAL, "100", ("inbound", "100")),
        ("020 7123 4567", "100", ("inbound", "100")),
        ("anonymous", "100", ("inbound", "100")),
        (LONDON, "+441632960345", ("inbound", None)),  # to a number of the company, or handed on
        (LONDON, "s", ("inbound", None)),
        ("100", LONDON, ("outbound", "100")),
        ("100", "0012025550123", ("outbound", "100")),
        ("100", "+112", ("outbound", "100")),
        ("100", "101", ("internal", "101")),
        ("100", "*97", ("internal", "100")),
        ("100", "123456", ("internal", "123456")),
        ("100", "1234567", ("outbound", "100")),
        ("", "100", ("unknown", "100")),
        ("100", "reception", ("unknown", "100")),
        ("", "", ("unknown", None)),
    ],
)
def test_numbers_alone_tell_extensions_from_the_world_by_their_length(source, destination, expected):
    assert by_numbers(source, destination) == expected


@pytest.mark.parametrize(
    ("source", "destination", "delivered", "expected"),
    [
        # A telephone that shows the company's number
        (LONDON, NATIONAL, {"channel": "PJSIP/100-0000001f", "dstchannel": "PJSIP/sipgate-00000020"}, "outbound 100"),
        (LONDON, "101", {"channel": "SIP/100-0000001f", "dstchannel": "SIP/101-00000020"}, "internal 101"),
        # Callers with short numbers, or none
        ("1234", "100", {"channel": "PJSIP/trunk-00000001", "dstchannel": "PJSIP/100-00000002"}, "inbound 100"),
        ("", "100", {"channel": "DAHDI/i1/5551234-1", "dstchannel": "PJSIP/100-00000002"}, "inbound 100"),
        ("1234", "100", {"channel": "PJSIP/sipgate-00000001", "dcontext": "from-pstn"}, "inbound 100"),
        # A queue, and who was rung for it
        (LONDON, "600", {"dstchannel": "PJSIP/101-00000002", "lastapp": "Queue"}, "inbound 101"),
        (LONDON, "600", {"dstchannel": "Local/102@from-queue-00000004;1"}, "inbound 102"),
        ("100", "112", {"channel": "PJSIP/100-00000001", "dstchannel": "PJSIP/trunk_1-00000002"}, "outbound 100"),
        # What names say nothing of: the numbers do
        ("100", "101", {"channel": "PJSIP/ada-00000001", "dstchannel": "PJSIP/grace-00000002"}, "internal 101"),
        (LONDON, "100", {"channel": "Local/100@test-00000000;2"}, "inbound 100"),
        (LONDON, "100", {"channel": "no channel at all"}, "inbound 100"),
    ],
)
def test_channels_of_asterisk_say_more_than_numbers(source, destination, delivered, expected):
    found = by_asterisk(source, destination, delivered)
    assert f"{found.direction} {found.extension}" == expected


@pytest.mark.parametrize(
    ("source", "destination", "delivered", "expected"),
    [
        (
            "2310690797",
            "6400",
            {
                "channel": "PJSIP/trunk_1-000002a1",
                "channel_ext": "trunk_1",
                "dstchannel_ext": "331",
                "userfield": "Inbound",
                "src_trunk_name": "Provider",
            },
            "inbound 331",
        ),
        ("1000", "2815058290", {"channel": "PJSIP/1000-00000003", "dst_trunk_name": "main"}, "outbound 1000"),
        ("1000", "112", {"channel_ext": "1000", "dstchannel_ext": "trunk_2"}, "outbound 1000"),
        ("5300", "5301", {"channel_ext": "5300", "dstchannel_ext": "5301", "userfield": "EXT"}, "internal 5301"),
        ("5300", "vmain", {"channel_ext": "5300", "userfield": "Internal"}, "internal 5300"),
        ("4711", "5301", {"src_trunk_name": "Provider", "dstchannel_ext": "5301"}, "inbound 5301"),
        (LONDON, NATIONAL, {"src_trunk_name": "one", "dst_trunk_name": "other"}, "inbound None"),
    ],
)
def test_grandstream_names_trunks_and_extensions(source, destination, delivered, expected):
    found = by_asterisk(source, destination, delivered)
    assert f"{found.direction} {found.extension}" == expected


def test_parsers_say_what_they_find():
    (captured,) = VENDORS["asterisk"].parse(FORM, captured_body("asterisk/answered.http"), ZoneInfo("UTC"))
    assert (captured.direction, captured.extension) == ("inbound", "100")
    posted = urlencode(VENDORS["asterisk"].EXAMPLE).encode()
    (record,) = VENDORS["asterisk"].parse(FORM, posted, ZoneInfo("UTC"))
    assert (record.direction, record.extension) == ("inbound", "100")
    (record,) = VENDORS["grandstream"].parse(
        JSON, json.dumps(dict(VENDORS["grandstream"].EXAMPLE)).encode(), ZoneInfo("UTC")
    )
    assert (record.direction, record.extension) == ("internal", "5301")


FIELDS = ("channel", "dstchannel", "dcontext", "userfield", "src_trunk_name", "channel_ext", "dstchannel_ext")
NUMBERS = st.sampled_from(["", "s", "100", LONDON, "*97"]) | st.text(max_size=10)


@given(NUMBERS, NUMBERS, st.dictionaries(st.sampled_from(FIELDS), NUMBERS | st.text(max_size=20)))
def test_whatever_is_delivered_has_one_of_four_directions_and_a_short_extension(source, destination, delivered):
    direction, extension = by_asterisk(source, destination, delivered)
    assert direction in ("inbound", "outbound", "internal", "unknown")
    assert extension is None or (extension.isascii() and extension.isdecimal() and len(extension) <= 6)
