"""Master keys against RFC 5869, RFC 4231 and the `cryptography` package, and that nothing shows them."""

import base64
import copy
import hmac
import pickle
import traceback

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from app.encryption.keyring import Context, Keyring, MalformedKey, MasterKey, hmac_sha256, is_key_id
from tests.encryption.reference import hkdf_expand

MASTER = bytes(range(100, 132))
MASTER_AS_HEX = "6465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f80818283"
MASTER_AS_FERNET_KEY = "ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-f4CBgoM="
OWNER = "0190b7c2-5a1d-7c3e-8f00-1234567890ab"
ROW = "0190b7c2-5a1d-7c3e-8f00-ba0987654321"

keys = st.binary(min_size=32, max_size=32)
names = st.text(st.characters(exclude_characters="|", exclude_categories=["Cs"]))


def spellings_of(key: bytes) -> list[str]:
    """Every form in which a key or part of it could show up in a text."""
    as_base64 = base64.urlsafe_b64encode(key).decode().rstrip("=")
    return [key.hex(), key.hex().upper(), as_base64, repr(key), repr(key)[2:-1], str(list(key)), key.decode("latin-1")]


@given(keys)
def test_a_fernet_key_and_the_hex_digits_of_it_are_one_key(secret):
    from_fernet_key = MasterKey.parse(base64.urlsafe_b64encode(secret).decode())
    from_hex = MasterKey.parse(secret.hex())
    assert from_fernet_key == from_hex == MasterKey.parse(secret.hex().upper()) == MasterKey(secret)
    assert from_fernet_key.id == from_hex.id
    assert hash(from_fernet_key) == hash(from_hex)


def test_what_fernet_generates_is_a_master_key():
    text = Fernet.generate_key().decode()
    assert MasterKey.parse(f" {text}\n") == MasterKey(base64.urlsafe_b64decode(text))


@given(keys, keys)
def test_keys_are_equal_when_their_bytes_are(one, other):
    assert (MasterKey(one) == MasterKey(other)) == (one == other)
    assert MasterKey(one) != one


def test_ids_and_value_keys_are_those_of_the_written_format():
    master = MasterKey.parse(MASTER_AS_HEX)
    assert master == MasterKey.parse(MASTER_AS_FERNET_KEY) == MasterKey(MASTER)
    assert master.id == "dc3bcc1a"
    assert master.value_key(Context("phone_systems.password", OWNER, ROW)).hex() == (
        "a80c36cb56f0f01c1643895306341c163ef69cbbf5bc9dc872abe92b5e489fb6"
    )
    assert master.value_key(Context("encryption_keys.canary", "platform", master.id)).hex() == (
        "1fd7e630c7cf06e02dbfce30b187a8d46acaafadf6084282472ea702c1761243"
    )


@given(keys, names, names, names)
def test_ids_and_value_keys_are_hkdf_expansions_of_the_master_key(secret, column, owner, row):
    master = MasterKey(secret)
    assert master.id == hkdf_expand(secret, "audiapro/key-id").hex()[:8]
    assert master.value_key(Context(column, owner, row)) == hkdf_expand(secret, f"audiapro/v1|{column}|{owner}|{row}")


def test_one_block_of_hkdf_expand_is_as_in_rfc_5869():
    """Appendix A.1, whose pseudorandom key has 32 bytes: the first 32 bytes of its output."""
    pseudorandom_key = bytes.fromhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
    info = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9")
    assert hmac_sha256(pseudorandom_key, info + b"\x01").hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
    )


@pytest.mark.parametrize(
    ("key", "message", "digest"),
    [
        ("0b" * 20, b"Hi There".hex(), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe".hex(),
            b"what do ya want for nothing?".hex(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        ("aa" * 20, "dd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (
            "0102030405060708090a0b0c0d0e0f10111213141516171819",
            "cd" * 50,
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        ),
    ],
    ids=["case 1", "case 2", "case 3", "case 4"],
)
def test_hmac_is_as_in_rfc_4231(key, message, digest):
    assert hmac_sha256(bytes.fromhex(key), bytes.fromhex(message)).hex() == digest


@given(st.binary(max_size=64), st.binary(max_size=300))
def test_hmac_is_that_of_the_standard_library_for_keys_of_up_to_64_bytes(key, message):
    assert hmac_sha256(key, message) == hmac.digest(key, message, "sha256")


MALFORMED = {
    "empty": "",
    "a word": "correct-horse-battery-staple",
    "63 hex digits": MASTER_AS_HEX[1:],
    "65 hex digits": MASTER_AS_HEX + "0",
    "hex with a sign": "+" + MASTER_AS_HEX[1:],
    "hex with a space": MASTER_AS_HEX[:32] + " " + MASTER_AS_HEX[33:],
    "other digits": MASTER_AS_HEX[:-1] + "\N{ARABIC-INDIC DIGIT THREE}",
    "31 bytes": base64.urlsafe_b64encode(MASTER[:31]).decode(),
    "33 bytes": base64.urlsafe_b64encode(MASTER + b"x").decode(),
    "the other base64": MASTER_AS_FERNET_KEY.replace("-", "+"),
    "two keys": f"{MASTER_AS_FERNET_KEY},{MASTER_AS_FERNET_KEY}",
    "quoted": f'"{MASTER_AS_FERNET_KEY}"',
    "padding inside": MASTER_AS_FERNET_KEY[:20] + "=" + MASTER_AS_FERNET_KEY[21:],
    "two lines": f"{MASTER_AS_HEX}\n{MASTER_AS_HEX}",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_key_is_refused_without_repeating_it(text):
    with pytest.raises(MalformedKey) as refusal:
        MasterKey.parse(text)
    told = "".join(traceback.format_exception(refusal.value)) + repr(refusal.value)
    assert "64 hex digits" in told
    assert text[:8] not in told or not text


@given(st.text())
def test_any_text_is_a_key_or_refused_without_repeating_it(text):
    try:
        MasterKey.parse(text)
        return
    except MalformedKey as error:
        refusal = error
    assert str(refusal) == "must be a Fernet key (44 characters of URL-safe base64) or 64 hex digits"


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_master_key_has_32_bytes(length):
    with pytest.raises(MalformedKey, match=r"^must be 32 bytes long$"):
        MasterKey(b"k" * length)


def test_nothing_that_prints_a_key_shows_more_than_its_id():
    master, fallback = MasterKey(MASTER), MasterKey(bytes(32))
    ring = Keyring(master, [fallback])
    shown = [f(o) for f in (repr, str, "{}".format, ascii) for o in (master, ring, [master], {"keys": ring})]
    for text in shown:
        assert master.id in text
        assert not [spelling for spelling in spellings_of(MASTER) + spellings_of(bytes(32)) if spelling in text]


def test_a_key_has_no_attributes_to_list():
    for holder in (MasterKey(MASTER), Keyring(MasterKey(MASTER))):
        with pytest.raises(TypeError):
            vars(holder)


@pytest.mark.parametrize("copying", [copy.copy, copy.deepcopy, *(lambda o, n=n: pickle.dumps(o, n) for n in range(6))])
@pytest.mark.parametrize("hold", [lambda key: key, Keyring, lambda key: {"key": [key]}], ids=["key", "ring", "nested"])
def test_a_key_is_neither_pickled_nor_copied(copying, hold):
    held = hold(MasterKey(MASTER))
    if copying is copy.copy and isinstance(held, dict):
        return  # the same key object in another dict
    with pytest.raises(TypeError, match="cannot be pickled") as refusal:
        copying(held)
    assert not [spelling for spelling in spellings_of(MASTER) if spelling in str(refusal.value)]


def test_a_failure_while_a_key_is_in_use_does_not_show_it():
    with pytest.raises(UnicodeEncodeError) as failure:
        MasterKey(MASTER).value_key(Context("a.b", "\ud800", "row"))
    told = "".join(traceback.format_exception(failure.value))
    assert not [spelling for spelling in spellings_of(MASTER) if spelling in told]


def test_a_keyring_seals_with_the_primary_key_and_knows_all_by_their_ids():
    one, two, three = (MasterKey(bytes([n]) * 32) for n in range(3))
    ring = Keyring(one, [two, three])
    assert ring.primary is one
    assert ring.fallbacks == (two, three)
    assert list(ring) == [one, two, three]
    assert [ring.get(key.id) for key in (one, two, three)] == [one, two, three]
    assert ring.get("00000000") is None
    assert list(ring.only_primary()) == [one]
    assert ring.secrets() == (bytes(32), b"\1" * 32, b"\2" * 32)


@pytest.mark.parametrize("duplicate", [0, 1])
def test_a_keyring_refuses_a_key_that_it_has_already(duplicate):
    keys = [MasterKey(MASTER), MasterKey(bytes(32))]
    with pytest.raises(ValueError, match="same id"):
        Keyring(keys[0], [keys[1], MasterKey.parse(keys[duplicate]._secret.hex())])


def test_a_keyring_refuses_two_keys_that_share_an_id():
    one, other = MasterKey(MASTER), MasterKey(bytes(32))
    other.id = one.id  # 1 in 4 billion by chance
    with pytest.raises(ValueError, match="same id"):
        Keyring(one, [other])


IS_KEY_ID = {"0123abcd": True, "0123ABCD": False, "0123abc": False, "0123abcde": False, "0123abcg": False, "": False}
IS_KEY_ID |= {"0123abcd\n": False, "\N{ARABIC-INDIC DIGIT ONE}" * 8: False}


@pytest.mark.parametrize(("text", "is_one"), IS_KEY_ID.items())
def test_a_key_id_is_eight_lower_case_hex_digits(text, is_one):
    assert is_key_id(text) is is_one
