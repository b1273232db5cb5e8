"""Values of older schemas, made here with the standard library and bare `cryptography`."""

import base64
import hashlib
import json
import pickle
from itertools import count

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from hypothesis import given
from hypothesis import strategies as st

from app.encryption.adoption import (
    ENCODINGS,
    CredentialFile,
    MalformedOldKey,
    NotAdoptable,
    OldKeys,
    is_empty,
    open_value,
)
from app.encryption.keyring import Context, MasterKey
from app.encryption.sealed import seal

KEY, OTHER = Fernet.generate_key(), Fernet.generate_key()
KEYS = OldKeys.parse(KEY.decode())
TOKEN = Fernet(KEY).encrypt(b"hunter2")
SECRETS = ["hunter2", "pässword 🔑", "-----BEGIN KEY-----\r\nMII\t\n", " blanks ", "=", "a" * 1_000_000]

texts = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1).filter(lambda text: "gAAAAA" not in text)


def reason(value, encoding="fernet or plaintext", keys=KEYS):
    with pytest.raises(NotAdoptable) as refusal:
        open_value(value, encoding, keys)
    return refusal.value.reason


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: repr(secret[:10]))
def test_what_was_stored_in_each_way_is_opened(secret):
    data, token = secret.encode(), Fernet(KEY).encrypt(secret.encode())
    for encoding in ENCODINGS:
        if "fernet" in encoding:
            assert open_value(token.decode(), encoding, KEYS) == secret
            assert open_value(base64.b64encode(token).decode(), encoding, KEYS) == secret
            assert open_value(base64.urlsafe_b64encode(token), encoding, KEYS) == secret
        if "plaintext" in encoding:
            assert open_value(secret, encoding, KEYS) == secret
        if "base64" in encoding:
            assert open_value(base64.b64encode(data).decode(), encoding, KEYS) == secret
            assert open_value(base64.urlsafe_b64encode(data).rstrip(b"="), encoding, KEYS) == secret


@given(texts)
def test_any_text_comes_back_from_plaintext_and_base64(secret):
    assert open_value(secret, "plaintext") == secret
    assert open_value(base64.encodebytes(secret.encode()).decode(), "base64") == secret


def test_text_and_bytes_of_every_kind_are_read_alike():
    for value in (
        TOKEN,
        TOKEN.decode(),
        bytearray(TOKEN),
        memoryview(TOKEN),
        f" {TOKEN.decode()[:40]}\n{TOKEN.decode()[40:]} ",
    ):
        assert open_value(value, "fernet", KEYS) == "hunter2"


def test_a_token_never_expires():
    assert open_value(Fernet(KEY).encrypt_at_time(b"hunter2", 1), "fernet", KEYS) == "hunter2"
    assert open_value(Fernet(KEY).encrypt_at_time(b"hunter2", 2**34), "fernet", KEYS) == "hunter2"


def test_an_application_may_have_had_several_keys():
    keys = OldKeys.parse(f"{OTHER.decode()}, {KEY.decode().rstrip('=')},")
    assert open_value(TOKEN, "fernet", keys) == "hunter2"


@pytest.mark.parametrize(
    "text", ["", ",", "hunter2", "ab" * 32, KEY.decode()[:-2], f"{KEY.decode()},x"], ids=map(str, count())
)
def test_what_is_no_fernet_key_is_refused_and_not_repeated(text):
    with pytest.raises(MalformedOldKey) as refusal:
        OldKeys.parse(text)
    assert len(text) < 3 or text not in str(refusal.value)


def test_keys_are_neither_shown_nor_pickled():
    assert repr(KEYS) == "<OldKeys>"
    with pytest.raises(TypeError):
        pickle.dumps(KEYS)


@pytest.mark.parametrize(
    "value",
    [
        TOKEN[:-1],
        TOKEN[:30],
        TOKEN[:7],
        TOKEN[:-8] + b"AAAAAAA=",
        Fernet(OTHER).encrypt(b"x"),
        base64.b64encode(TOKEN[:-4]),
    ],
    ids=map(str, count()),
)
@pytest.mark.parametrize("encoding", [encoding for encoding in ENCODINGS if "fernet" in encoding])
def test_a_token_that_does_not_open_is_never_taken_for_anything_else(value, encoding):
    assert reason(value, encoding).startswith(("does not open with the old key", "is not base64, or is cut off"))


@pytest.mark.parametrize(
    ("value", "encoding", "told"),
    [
        ("hunter2", "fernet", "is not a Fernet token"),
        (TOKEN, "plaintext", "is a Fernet token, not plaintext: say so in the mapping"),
        (TOKEN, "base64", "is a Fernet token, not base64: say so in the mapping"),
        (base64.b64encode(TOKEN), "base64", "is a Fernet token, not base64: say so in the mapping"),
        (f"b'{TOKEN.decode()}'", "fernet or plaintext", "has a Fernet token in it, and something around that"),
        (f"enc:{TOKEN.decode()}", "fernet or base64", "has a Fernet token in it, and something around that"),
        ("hunter2!", "base64", "is not base64, or is cut off"),
        ("aGVsbG8", "fernet or base64", None),
        ("aGVsb", "base64", "is not base64, or is cut off"),
        ("aGVsbG9", "base64", "is not base64, or is cut off"),  # bits are left over
        ("a+b_", "base64", "is not base64, or is cut off"),
        ("aGVs=bG8=", "base64", "is not base64, or is cut off"),
        ("password", "base64", "holds bytes that are not UTF-8 text"),
        (base64.b64encode(b"a\0b"), "base64", "holds control characters, such as NUL"),
        (b"hunter2\0\0\0", "plaintext", "holds control characters, such as NUL"),
        ("a\x7fb", "plaintext", "holds control characters, such as NUL"),
        (b"\xff\xfe", "plaintext", "holds bytes that are not UTF-8 text"),
        ("\udcff", "plaintext", "is not UTF-8 text"),
        (Fernet(KEY).encrypt(b"\xff"), "fernet", "holds bytes that are not UTF-8 text"),
        (1234, "plaintext", "is neither text nor bytes, but int"),
        (1.5, "fernet or plaintext", "is neither text nor bytes, but float"),
        ({"a": "b"}, "plaintext", "is neither text nor bytes, but dict"),
        (
            seal(MasterKey(b"k" * 32), Context("a.b", "c", "d"), b"x"),
            "fernet or plaintext",
            "is a value that AudiaPro has sealed: it opens in its own row alone",
        ),
    ],
    ids=map(str, count()),
)
def test_what_cannot_be_taken_over_is_told(value, encoding, told):
    if told is None:
        assert open_value(value, encoding, KEYS) == "hello"
    else:
        assert reason(value, encoding) == told


def test_null_and_empty_texts_are_nothing():
    assert [is_empty(value) for value in (None, "", b"", memoryview(b""), " ", 0)] == [True] * 4 + [False] * 2


# Credential files


def file_of(user_id="7", secret="master", data='{"username": "ada", "password": "hunter2"}', **changes):
    salt = hashlib.sha256(user_id.encode()).digest()[:16]
    key = PBKDF2HMAC(SHA256(), 32, salt, 100_000).derive(secret.encode())
    token = Fernet(base64.urlsafe_b64encode(key)).encrypt(data.encode())
    file = {
        "user_id": user_id,
        "encrypted_data": base64.urlsafe_b64encode(token).decode(),
        "created_at": "2025-01-31T12:00:00",
        "encryption_version": "1.0",
    }
    return json.dumps(file | changes).encode()


def test_a_credential_file_opens_with_the_secret_and_the_users_id():
    file = CredentialFile.parse(file_of())
    assert (file.user_id, file.created_at) == ("7", "2025-01-31T12:00:00")
    assert json.loads(file.open("master")) == {"username": "ada", "password": "hunter2"}
    for other in (file_of(user_id="8"), file_of(secret="another")):
        moved = json.loads(other) | {"user_id": "7"}
        with pytest.raises(NotAdoptable, match="does not open"):
            CredentialFile.parse(json.dumps(moved).encode()).open("master")
    assert "hunter2" not in repr(file)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not a JSON object"),
        (file_of(user_id="7").replace(b"user_id", b"user"), "has no user_id"),
        (file_of().replace(b'"7"', b"true"), "has no user_id"),
        (file_of().replace(b"encrypted_data", b"data"), "has no encrypted_data"),
        (file_of(encrypted_data=7), "has no encrypted_data"),
    ],
)
def test_what_is_no_credential_file_is_told(content, told):
    with pytest.raises(NotAdoptable, match=told):
        CredentialFile.parse(content)


def test_an_id_that_is_a_number_is_its_digits_and_null_is_nothing():
    assert CredentialFile.parse(file_of().replace(b'"7"', b"7")).open("master")
    assert CredentialFile.parse(file_of(encrypted_data=None)).encrypted_data == ""
