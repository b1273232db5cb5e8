"""What was delivered is shown so that nothing in it is hidden, or does anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.phone_systems.printable import printable, printable_beginning


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"src=100&dst=101\n\tx", "src=100&dst=101\n\tx"),
        ("Zoë 🔑 <b>".encode(), "Zoë 🔑 <b>"),
        (b"\x00\x1b[2J\r\n\x7f", "␀␛[2J␍\n␡"),
        (b"\xff\xfe{}", "<0xFF><0xFE>{}"),
        ("a\u202eb\u00a0\u2028\ufeff\x85".encode(), "a<U+202E>b<U+00A0><U+2028><U+FEFF><U+0085>"),
        (b"\xed\xa0\x80", "<0xED><0xA0><0x80>"),
    ],
)
def test_what_cannot_be_seen_is_shown_by_a_picture_or_a_number(body, shown):
    assert printable_beginning(body, 100) == (shown, False)


def test_halves_of_surrogate_pairs_are_shown_by_their_number():
    assert printable("a\ud800b") == "a<U+D800>b"


def test_a_body_that_is_too_long_is_cut_between_characters():
    assert printable_beginning("aé".encode(), 2) == ("a", True)
    assert printable_beginning("aé".encode(), 3) == ("aé", False)
    assert printable_beginning("aé".encode()[:2], 2) == ("a<0xC3>", False), "it ended there"


@given(st.binary(max_size=200), st.integers(0, 200))
def test_whatever_it_is_all_of_it_is_printable_and_in_bounds(body, most):
    text, cut = printable_beginning(body, most)
    assert all(character.isprintable() or character in "\n\t" for character in text)
    assert cut == (len(body) > most)
    assert len(text) <= 8 * most
    text.encode()
