"""References to secrets: how they are written, and what of a fetched secret is meant."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple

from app.secret_sources.failures import Refused

_REGION: Final = r"(?:\?region=(?P<region>[a-z]{2}[a-z0-9-]{3,30}))?"
_FIELD: Final = r"#(?P<field>[^\s#?,]+)"
_SECRETS_MANAGER: Final = re.compile(
    r"aws-secretsmanager://(?P<name>arn:aws[a-z-]*:secretsmanager:(?P<arn_region>[a-z0-9-]+):[0-9]{12}:secret:"
    rf"[\w/+=.@-]+|[\w/+=.@-]+){_REGION}(?:{_FIELD})?",
    re.ASCII,
)
_KMS: Final = re.compile(rf"aws-kms://(?P<ciphertext>[A-Za-z0-9+/]{{40,}}={{0,2}}){_REGION}")
_VAULT: Final = re.compile(rf"vault://(?P<mount>[\w.-]+)/(?P<path>[\w.@+=:~-]+(?:/[\w.@+=:~-]+)*){_FIELD}", re.ASCII)

# Something that was meant to be a reference, or is how others write one: it must not be taken for a secret itself.
_ALMOST: Final = re.compile(r"[\"']?(?:(?:arn|vault|aws[a-z-]*):|[a-z][a-z0-9+.-]*://)", re.IGNORECASE)


@dataclass(frozen=True)
class SecretsManagerSecret:
    """A secret of AWS Secrets Manager: a name or an ARN. Without a region it is AWS's client that knows which."""

    kind: ClassVar[str] = "AWS Secrets Manager"
    client: ClassVar[str] = "aws"
    name: str
    region: str | None


@dataclass(frozen=True)
class KmsCiphertext:
    """What ``aws kms encrypt`` has printed: base64."""

    kind: ClassVar[str] = "AWS KMS"
    client: ClassVar[str] = "aws"
    ciphertext: str
    region: str | None


@dataclass(frozen=True)
class VaultSecret:
    """A secret of a KV engine, version 2."""

    kind: ClassVar[str] = "Vault"
    client: ClassVar[str] = "vault"
    mount: str
    path: str


Location = SecretsManagerSecret | KmsCiphertext | VaultSecret

# How each kind of reference is written, by its beginning.
FORMS: Final = {
    "aws-secretsmanager://": "aws-secretsmanager://NAME?region=REGION#FIELD (region and field only where needed)",
    "aws-kms://": "aws-kms://CIPHERTEXT?region=REGION (ciphertext in base64, region only where needed)",
    "vault://": "vault://MOUNT/PATH#FIELD",
}


class Reference(NamedTuple):
    """Where a secret is, and which field of it is meant; None where the whole of it is.

    shown: the reference as a report may name it. A ciphertext is only long, but nobody wants to read it.
    """

    location: Location
    field: str | None
    shown: str

    @classmethod
    def parse(cls, text: str) -> Reference | None:
        """The reference that ``text`` is, or None where it does not begin like one: then it is the secret itself.

        Raises :class:`Refused`, without repeating the text, for what only looks like a reference.
        """
        for beginning, form in FORMS.items():
            if text.startswith(beginning):
                if (location := _location(text)) is None:
                    raise Refused(f"is not a reference as it must be written: {form}.")
                shown = "its aws-kms:// reference" if isinstance(location[0], KmsCiphertext) else text
                return cls(*location, shown)
        return None

    def select(self, fetched: str | Mapping[str, Any]) -> str:
        """The text that is meant, out of what the store keeps. Raises :class:`Refused` where there is none."""
        if self.field is None:
            assert isinstance(fetched, str)  # of Vault, every reference names a field
            return fetched
        fields = _fields(fetched) if isinstance(fetched, str) else fetched
        if self.field not in fields:
            raise Refused("the secret is there, but it has no field of this name.")
        if not isinstance(value := fields[self.field], str):
            raise Refused("the field is there, but it does not hold text.")
        return value


def looks_like_reference(text: str) -> bool:
    """Whether a secret begins so much like a reference, or a URL, that it can hardly be the secret itself."""
    return _ALMOST.match(text) is not None


def _location(text: str) -> tuple[Location, str | None] | None:
    if found := _SECRETS_MANAGER.fullmatch(text):
        regions = {region for region in (found["region"], found["arn_region"]) if region}
        return None if len(regions) > 1 else (SecretsManagerSecret(found["name"], *regions or [None]), found["field"])
    if found := _KMS.fullmatch(text):
        return KmsCiphertext(found["ciphertext"], found["region"]), None
    found = _VAULT.fullmatch(text)
    if found and not {".", ".."} & {found["mount"], *found["path"].split("/")}:  # an HTTP client would resolve those
        return VaultSecret(found["mount"], found["path"]), found["field"]
    return None


def _fields(text: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Refused("the secret is not a JSON object, so it has no fields: leave #FIELD out, or store it as one.")
    return fields
