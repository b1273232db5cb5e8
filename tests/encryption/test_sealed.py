"""The stored value: an ordinary Fernet token that opens in its own place alone, and only as it was made."""

import base64
import hmac
import re
import string
import traceback

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from app.encryption import sealed
from app.encryption.keyring import Context, Keyring, MasterKey
from app.encryption.sealed import DoesNotOpen, EncryptionError, NotSealed, UnknownKey
from tests.encryption import reference

SECRET = bytes(range(32))
KEY = MasterKey(SECRET)
KEYRING = Keyring(KEY, [MasterKey(b"f" * 32)])
CONTEXT = Context(
    "phone_systems.password", "a1b2c3d4-0000-7000-8000-000000000001", "a1b2c3d4-0000-7000-8000-000000000002"
)

ODD_TEXTS = {
    "empty": "",
    "a NUL": "\0",
    "NULs": "a\0b\0",
    "emoji": "🔑👩‍👩‍👧‍👦",
    "right-to-left": "\u202e\u05e9\u05dc\u05d5\u05dd \u0639",
    "one block": "x" * 16,
    "two blocks": "x" * 32,
    "looks sealed": "v1:00000000:gAAAA",
    "1 MB": "pässword" * 131_072,
}

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="|"))


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())
def test_what_is_sealed_opens_to_the_same_text(text):
    assert sealed.open(KEYRING, CONTEXT, sealed.seal(KEY, CONTEXT, text.encode())).decode() == text


@given(st.binary(), texts, texts, texts)
def test_the_standard_fernet_opens_what_we_seal(plaintext, column, owner, row):
    value = sealed.seal(KEY, Context(column, owner, row), plaintext)
    assert reference.unseal(SECRET, column, owner, row, value) == plaintext


@given(st.binary(), texts, texts, texts)
def test_we_open_what_the_standard_fernet_makes(plaintext, column, owner, row):
    value = reference.seal(SECRET, column, owner, row, plaintext)
    assert sealed.is_sealed(value)
    assert sealed.open(KEYRING, Context(column, owner, row), value) == plaintext


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())
def test_the_standard_fernet_and_ours_agree_on_odd_texts(text):
    assert reference.unseal(SECRET, *CONTEXT, sealed.seal(KEY, CONTEXT, text.encode())) == text.encode()
    assert sealed.open(KEYRING, CONTEXT, reference.seal(SECRET, *CONTEXT, text.encode())) == text.encode()


def test_a_value_has_the_written_format():
    value = sealed.seal(KEY, CONTEXT, b"s3cret")
    assert re.fullmatch(f"v1:{reference.key_id(SECRET)}:gAAAA[A-Za-z0-9_-]+={{0,2}}", value)


def test_sealing_twice_gives_two_values():
    assert sealed.seal(KEY, CONTEXT, b"s3cret") != sealed.seal(KEY, CONTEXT, b"s3cret")


def test_a_value_under_a_fallback_opens():
    fallback = KEYRING.fallbacks[0]
    assert sealed.open(KEYRING, CONTEXT, sealed.seal(fallback, CONTEXT, b"s3cret")) == b"s3cret"


# Plaintexts whose tokens end in two, one and no padding characters, which leave 4, 2 and 0 bits of Base64 unused.
@pytest.fixture(params=[b"", b"x" * 16, b"x" * 32], ids=["==", "=", "no padding"])
def value(request):
    value = sealed.seal(KEY, CONTEXT, request.param)
    assert sealed.open(KEYRING, CONTEXT, value) == request.param
    return value


def opened(altered: list[str]) -> list[str]:
    """Those of the values that open although none of them should."""
    found = []
    for text in altered:
        try:
            sealed.open(KEYRING, CONTEXT, text)
            found.append(text)
        except EncryptionError:
            pass
    return found


def test_a_value_with_any_bit_flipped_is_refused(value):
    assert not opened(
        [
            value[:at] + chr(ord(character) ^ 1 << bit) + value[at + 1 :]
            for at, character in enumerate(value)
            for bit in range(8)
        ]
    )


CHARACTERS = string.ascii_letters + string.digits + "-_=:+/ \n\r\t\0.,|é\N{FULLWIDTH COLON}\ud800"


def test_a_value_with_any_character_substituted_is_refused(value):
    altered = {value[:at] + other + value[at + 1 :] for at in range(len(value)) for other in CHARACTERS}
    assert not opened(sorted(altered - {value}))


def test_a_value_with_any_character_inserted_is_refused(value):
    assert not opened([value[:at] + other + value[at:] for at in range(len(value) + 1) for other in CHARACTERS])


def test_a_value_with_any_character_deleted_is_refused(value):
    altered = {value[:at] + value[at + 1 :] for at in range(len(value))}
    altered |= {value[:length] for length in range(len(value))} | {value[at:] for at in range(1, len(value) + 1)}
    assert not opened(sorted(altered))


def test_parts_of_two_values_do_not_make_a_third(value):
    other = sealed.seal(KEY, CONTEXT, b"y" * 40)
    assert not opened([value[:at] + other[at:] for at in range(17, len(value)) if value[:at] + other[at:] != other])


@given(st.text(CHARACTERS) | st.binary().map(lambda token: base64.urlsafe_b64encode(b"\x80" + token).decode()))
def test_text_made_up_after_the_prefix_is_refused(text):
    assert not opened([f"v1:{KEY.id}:{text}", f"v1:{KEY.id}:gAAAA{text}", text])


@given(st.binary(max_size=200))
def test_a_token_that_is_signed_but_no_whole_number_of_blocks_is_refused(ciphertext):
    key = KEY.value_key(CONTEXT)
    signed = b"\x80" + bytes(8) + bytes(16) + ciphertext
    signature = hmac.digest(key[:16], signed, "sha256")
    token = base64.urlsafe_b64encode(signed + signature).decode()
    if len(ciphertext) % 16 or not ciphertext:
        assert not opened([f"v1:{KEY.id}:{token}"])


@pytest.mark.parametrize("part", Context._fields)
def test_a_value_does_not_open_for_another_column_owner_or_row(part):
    value = sealed.seal(KEY, CONTEXT, b"s3cret")
    with pytest.raises(DoesNotOpen):
        sealed.open(KEYRING, CONTEXT._replace(**{part: getattr(CONTEXT, part) + "x"}), value)


@given(st.tuples(texts, texts, texts), st.tuples(texts, texts, texts))
def test_a_value_opens_in_its_own_context_alone(one, other):
    value = sealed.seal(KEY, Context(*one), b"s3cret")
    if one == other:
        assert sealed.open(KEYRING, Context(*other), value) == b"s3cret"
    else:
        with pytest.raises(DoesNotOpen):
            sealed.open(KEYRING, Context(*other), value)


def test_a_value_does_not_open_under_another_key_that_goes_by_the_same_id():
    impostor = MasterKey(b"i" * 32)
    impostor.id = KEY.id
    with pytest.raises(DoesNotOpen):
        sealed.open(Keyring(impostor), CONTEXT, sealed.seal(KEY, CONTEXT, b"s3cret"))


def test_a_value_renamed_to_another_key_that_we_hold_does_not_open():
    token = sealed.seal(KEY, CONTEXT, b"s3cret")[12:]
    with pytest.raises(DoesNotOpen):
        sealed.open(KEYRING, CONTEXT, f"v1:{KEYRING.fallbacks[0].id}:{token}")


STRANGER = MasterKey(b"s" * 32)
UNOPENABLE = {
    "unknown key": (sealed.seal(STRANGER, CONTEXT, b"s3cret"), UnknownKey, STRANGER.id),
    "moved": (sealed.seal(KEY, CONTEXT._replace(row="other"), b"s3cret"), DoesNotOpen, KEY.id),
    "plaintext": ("s3cret-plaintext", NotSealed, None),
    "empty": ("", NotSealed, None),
    "upper-case version": ("V" + sealed.seal(KEY, CONTEXT, b"s3cret")[1:], NotSealed, None),
    "another version": ("v2" + sealed.seal(KEY, CONTEXT, b"s3cret")[2:], NotSealed, None),
    "upper-case key id": (f"v1:ABCDEF00:{sealed.seal(KEY, CONTEXT, b's3cret')[12:]}", NotSealed, None),
    "a bare token": (sealed.seal(KEY, CONTEXT, b"s3cret")[12:], NotSealed, None),
    "a line break": (sealed.seal(KEY, CONTEXT, b"s3cret") + "\n", NotSealed, None),
}


@pytest.mark.parametrize(("value", "kind", "key_id"), UNOPENABLE.values(), ids=UNOPENABLE.keys())
def test_the_ways_to_fail_are_told_apart_and_name_the_place_but_never_the_value(value, kind, key_id):
    with pytest.raises(EncryptionError) as failure:
        sealed.open(KEYRING, CONTEXT, value)
    error = failure.value
    assert type(error) is kind
    assert (error.column, error.row, error.key_id) == (CONTEXT.column, CONTEXT.row, key_id)
    told = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    for named in (CONTEXT.column, CONTEXT.row, key_id or "none"):
        assert named in str(error)
    assert error.reason in str(error)
    assert not value or value not in told
    assert "s3cret" not in told


def test_each_way_to_fail_has_a_reason_of_its_own():
    assert len({kind.reason for kind in (UnknownKey, DoesNotOpen, NotSealed)}) == 3


@pytest.mark.parametrize("moment", [0, 1, 2**31, 2**32, 2**40], ids=["1970", "1 s", "2038", "2106", "36,812 AD"])
def test_a_token_opens_whatever_its_time_stamp_says(moment):
    token = reference.fernet(SECRET, *CONTEXT).encrypt_at_time(b"s3cret", moment).decode()
    assert sealed.is_sealed(f"v1:{KEY.id}:{token}")
    assert sealed.open(KEYRING, CONTEXT, f"v1:{KEY.id}:{token}") == b"s3cret"


def test_a_token_says_when_it_was_sealed(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.9)
    token = sealed.seal(KEY, CONTEXT, b"s3cret")[12:]
    assert Fernet(base64.urlsafe_b64encode(KEY.value_key(CONTEXT))).extract_timestamp(token) == 1_800_000_000


def has_the_written_format(text: str) -> bool:
    version, key_id, token = text[:3], text[3:11], text[12:]
    body = token.rstrip("=")
    return (
        version == "v1:"
        and text[11:12] == ":"
        and len(key_id) == 8
        and set(key_id) <= set("0123456789abcdef")
        and token.startswith("gAAAA")
        and len(token) >= 100  # 73 bytes: version, time stamp, IV, one block, signature
        and len(token) - len(body) <= 2
        and set(body) <= set(string.ascii_letters + string.digits + "-_")
    )


@st.composite
def nearly_sealed(draw):
    """A sealed value with some of it replaced, repeated or left out."""
    value = sealed.seal(KEY, CONTEXT, draw(st.binary(max_size=40)))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(value)))
        end = draw(st.integers(start, min(len(value), start + 4)))
        value = value[:start] + draw(st.text(CHARACTERS, max_size=4)) + value[end:]
    return value


@given(nearly_sealed() | st.text() | st.integers(90, 102).map(lambda length: f"v1:{KEY.id}:gAAAA{'x' * length}="))
def test_is_sealed_tells_the_format_from_everything_else(text):
    assert sealed.is_sealed(text) == has_the_written_format(text)


@pytest.mark.parametrize("other", [None, 1, b"v1:", [], object()])
def test_is_sealed_is_false_for_what_is_not_text(other):
    assert sealed.is_sealed(other) is False


@given(st.binary())
def test_no_value_is_shorter_than_the_minimum_length_and_that_of_nothing_has_it(plaintext):
    assert len(sealed.seal(KEY, CONTEXT, b"")) == sealed.MINIMUM_LENGTH == len("v1:01234567:") + 100
    assert len(sealed.seal(KEY, CONTEXT, plaintext)) >= sealed.MINIMUM_LENGTH
