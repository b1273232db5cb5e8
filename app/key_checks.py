"""What speaks against a configured key: it is malformed, weak, published, or used twice.

No sentence repeats a key. :mod:`app.config` reports them all at once.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Final, NamedTuple

from app.encryption.keyring import MalformedKey, MasterKey

# Words of placeholders, upper or lower case. Each is long enough, or tied to the start of a word, that all of them
# together strike about one in ten million random 43-character base64 texts. generate_keys.py draws again then.
WEAK_WORDS: Final = re.compile(
    r"secret|password|passphrase|change[-_ ]?(?:me|this|it)|replace[-_ ]?me|example|default|placeholder|insecure"
    r"|audiapro|(?:test|dev)[-_]key|testkey|(?<![a-z0-9])your[-_ ]|123456789|abcdefghi|qwertyu",
    re.IGNORECASE,
)

# SHA-256 of keys that guides and ready-made files have published: of the 32 bytes of a key in base64 or hex, else of
# the text. What is hashed is random, or everybody's guess already, so the hash gives nothing away.
PUBLISHED: Final = frozenset({
    "007c046f65a276d7456ba61e6967fd27a95f2b42951a4b36c21a2235476b0d4d",  # a deployment guide's JWT_SECRET_KEY
    "9a686944b2bab8de6fc97d50090c27222720b43e6ac3a47f8947a55e7c367345",  # a deployment guide's ENCRYPTION_KEY
    "679c4b4e978ca360978b6ddf44cd4021a2e3392299ad1bf1a52b68e4b0d19296",  # "example output" of many guides
    "cbeb362f1fa69a6691db592f4529cf6bea1ce089eb132a3350c9081279ff8f34",  # Fernet specification, test vectors
    "5ca278330d08b9ce5bb4e0c8755263873be3b92f5db329c5562d445b3e022232",  # Airflow images, docker-compose files
    "0f734c24bf4fc8bfc2f726504e59c7d2b0a54d67ec6a50426b460d5def8a50e4",  # Airflow, older docker-compose files
    "b055b35785e0b9dee81fc3e9b7c59b9553d419c408e72f5fb4ac150a7c6ded25",  # Airflow images, web server secret
    "3990442a9e73e2e289f7c0c4f1c9dc85d3d54268f208748631ecb46b1ef9f3df",  # Airflow settings, Pulp operator
    "813d2c8fa8a4a4fc5a6b88cf7fa8b35a7d6bc7f56a6f340ea30f1b2726932c72",  # Airflow, community Helm chart
    "4f5cc30eafdb6315847f4942a47db139689a42fd760f48bf966eb922d46804b7",  # Airflow, Astronomer's command line
    "27f07153e181a917d86a06332d46e4ce770c32bb93047acc982a69fc99fa7e4e",  # OpenMetadata's default
    "4d0f8dec4515d07a611c502f22adb95c854d943d6122fb8f96c9503b42356bac",  # FastAPI tutorial
    "a5aa976fe0932dfa4e28efad79b2bdf0ab22a79a346ed3fe9e0aeda30ab3fd1d",  # Flask tutorial
    "9cb335cb7b5fb805934637d85c4f57c695baac019c0a57ceffd0afe43144c9cb",  # Flask documentation, configuration
    "9524778ec96458f7d842cbe42d743ab9b1e068841c2c805fa4045ad898ad4282",  # Redash's default
    "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd",  # the bytes 0 to 31 of many test suites
})  # fmt: skip


_BEARER: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, section 2.1


class Key(NamedTuple):
    """A key as configured. ``raw``: the 32 bytes, if it has the form of a master key, else those of the text."""

    label: str
    text: str
    raw: bytes


def remedy(label: str) -> str:
    """What to do about a key that is missing or cannot be used."""
    if "FALLBACKS" in label:
        return "Correct it or take it out of the list."
    kind = {"JWT_SECRET_KEY": "jwt", "METRICS_TOKEN": "metrics"}.get(label, "encryption")
    return f"Make a new one: python generate_keys.py --only {kind}"


def keys_of(name: str, values: Mapping[str, str]) -> list[Key]:
    """The key ``name``, if it is set, and its fallbacks."""
    texts = {name: values[name]} if values[name] else {}
    fallbacks = [text.strip() for text in values[f"{name}_FALLBACKS"].split(",") if text.strip()]
    texts |= {f"key {number} of {name}_FALLBACKS": text for number, text in enumerate(fallbacks, start=1)}
    return [Key(label, text, _raw(text)) for label, text in texts.items()]


def token_of(name: str, values: Mapping[str, str]) -> list[Key]:
    """The token ``name``, if it is set."""
    return [Key(name, values[name], _raw(values[name]))] if values[name] else []


def _raw(text: str) -> bytes:
    url_safe = text.replace("+", "-").replace("/", "_")  # a JWT secret may be in the other base64 alphabet
    try:
        MasterKey.parse(url_safe)
    except MalformedKey:
        return text.encode(errors="backslashreplace")
    return bytes.fromhex(text) if len(text) == 64 else base64.urlsafe_b64decode(url_safe.rstrip("=") + "=")


def check_keys(jwt_keys: list[Key], encryption_keys: list[Key], tokens: list[Key]) -> tuple[list[MasterKey], list[str]]:
    """The well-formed master keys, and what is wrong with each key, and token, and with all of them together."""
    short = [key for key in (*jwt_keys, *tokens) if len(key.text) < 32]
    problems = [f"{key.label} is shorter than 32 characters. {remedy(key.label)}" for key in short]
    problems += [
        f"{key.label} has characters that cannot be sent. {remedy(key.label)}"
        for key in tokens
        if not _BEARER.fullmatch(key.text)
    ]
    master_keys: dict[str, MasterKey] = {}
    for key in encryption_keys:
        try:
            master_keys[key.label] = MasterKey.parse(key.text)
        except MalformedKey as error:
            problems.append(f"{key.label} {error}. {remedy(key.label)}")
    keys = [*jwt_keys, *encryption_keys, *tokens]
    problems += [f"{key.label} {flaw}. {remedy(key.label)}" for key in keys for flaw in _flaws(key)]
    for one, other in combinations(keys, 2):
        if one.raw == other.raw:
            problems.append(f"{other.label} is the same key as {one.label}. Every key has one place and one purpose.")
    for (label, first), (other_label, second) in combinations(master_keys.items(), 2):
        if first.id == second.id and first != second:
            problems.append(f"{other_label} has by chance the same id as {label}. {remedy(label)}")
    return list(master_keys.values()), problems


def _flaws(key: Key) -> Iterator[str]:
    """What speaks against a key by itself, as written down or as decoded."""
    readings = (key.text, key.raw.decode("latin-1"))
    if any(len(set(reading)) < 10 or reading in (reading * 2)[1:-1] for reading in readings):
        yield "is weak: it has fewer than 10 different characters, or is one piece repeated"
    if any(WEAK_WORDS.search(reading) for reading in readings):
        yield "is weak: it contains a word such as secret, password or example"
    if "," in key.text:
        yield "contains a comma, which separates keys in a list of fallbacks"
    if not key.text.isprintable():
        yield "contains something that is not text"
    if hashlib.sha256(key.raw).hexdigest() in PUBLISHED:
        yield "has been published, so anybody can know it"
