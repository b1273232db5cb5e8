"""Telephone numbers: one form for all spellings of the same number, and no form for what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.calls.numbers import e164, shown
from app.schemas import countries

LONDON = "+442071234567"


@pytest.mark.parametrize(
    "spelling",
    [
        "+442071234567",
        "00442071234567",
        "442071234567",
        "02071234567",
        "020 7123 4567",
        "(020) 7123-4567",
        "020.7123.4567",
        "+44 (0)20 7123 4567",
        "020/71234567",
    ],
)
def test_a_number_is_the_same_in_every_usual_spelling(spelling):
    assert e164(spelling, "GB") == LONDON


@pytest.mark.parametrize(
    ("number", "country", "expected"),
    [
        ("030 1234567", "DE", "+49301234567"),
        ("06 698 12345", "IT", "+390669812345"),  # where the 0 is a part of the number
        ("(650) 253-0000", "US", "+16502530000"),
        ("16502530000", "US", "+16502530000"),
        ("8 495 123-45-67", "RU", "+74951234567"),
        ("020 7123 4567", "FR", None),
        ("+44 20 7123 4567", "FR", LONDON),
        ("0049 30 1234567", "US", "+49301234567"),
    ],
)
def test_the_country_says_how_a_number_without_its_code_is_read(number, country, expected):
    assert e164(number, country) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [("02071234567", None), ("442071234567", None), ("+442071234567", LONDON), ("0044 20 7123 4567", LONDON)],
)
def test_without_a_country_only_what_has_a_code_is_read(number, expected):
    assert e164(number, None) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "100",
        "123456",
        "1234567",  # no area: it could be anywhere in the country
        "+44",
        "+44207",
        "00100",
        "+4420712345678901234",
        "anonymous",
        "*97",
        "0800 FLOWERS",
        "call 020 7123 4567",
        "sip:02071234567@example.org",
        "٠٢٠٧١٢٣٤٥٦٧",
        "020 7123 4567\n",
        "+" * 300,
    ],
)
def test_what_is_no_number_is_not_made_one(text):
    assert e164(text, "GB") is None


def test_a_number_is_shown_as_people_write_it():
    assert shown(LONDON) == "+44 20 7123 4567"
    assert shown("no number") == "no number"


@given(st.text(alphabet="+0123456789 ()-./x*#", max_size=50), st.sampled_from([None, *sorted(countries())]))
def test_whatever_is_read_is_in_e164_and_stays_what_it_is(text, country):
    number = e164(text, country)
    if number is not None:
        assert number[0] == "+"
        assert number[1:].isdecimal()
        assert 7 < len(number) <= 18
        assert e164(number, None) == number
