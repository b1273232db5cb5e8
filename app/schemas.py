"""What the Pydantic models of all nouns are made of."""

from __future__ import annotations

import re
import unicodedata
import zoneinfo
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Final
from uuid import UUID

from apiflask.schema_adapters.pydantic import PydanticAdapter
from apiflask.schema_adapters.registry import registry
from phonenumbers import SUPPORTED_REGIONS
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

_BLANKS: Final = "".join(chr(point) for point in range(0x3001) if unicodedata.category(chr(point)) == "Zs")
_TURNING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # they last beyond the text

_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _without_null_defaults(schema: dict[str, Any]) -> None:
    """A field that is left out is not the same as null: a client made from the description must not send it."""
    for field in schema.get("properties", {}).values():
        if field.get("default", "") is None:
            del field["default"]


class Input(BaseModel):
    """What comes in: nothing that is not declared. No error repeats a value, which may be a secret."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, json_schema_extra=_without_null_defaults)

    def given(self) -> dict[str, Any]:
        """The fields that the request has, as plain values; secrets are readable text from here on."""
        values = {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
        return {name: _plain(value) for name, value in values.items()}


class Output(BaseModel):
    """What goes out, read from the attributes that it declares and from no others."""

    model_config = ConfigDict(from_attributes=True)


class _Adapter(PydanticAdapter):
    """For all Pydantic models: leaves an answer as the model that checked it, which Flask's JSON provider
    writes as it is. APIFlask's own makes a dictionary of it first. A list is always the field of a model: see Page."""

    def serialize_output(self, data: Any, many: bool = False) -> Any:
        return data if isinstance(data, BaseModel) else self.model_class.model_validate(data)


registry.register("pydantic", _Adapter)


class Record(Output):
    """What every stored object shows."""

    id: UUID
    created_at: datetime
    updated_at: datetime = Field(description="When it was last changed, or made")


class VersionedRecord(Record):
    """What every stored object shows that people change."""

    version: int = Field(
        examples=[1], description="One more with each change; tells whether somebody changed the object meanwhile"
    )


def not_required(**more: Any) -> Any:
    """The default of a field that a PATCH may leave out but not set to null. Never read: see :meth:`Input.given`."""
    return Field(default_factory=lambda: None, **more)


def _plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _single_line(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") for character in text):
        raise ValueError("must not contain control characters or line separators")
    if not _TURNING.isdisjoint(text):
        raise ValueError("must not contain characters that turn the direction of writing")
    if all(unicodedata.category(character) in ("Cf", "Mn", "Zs") for character in text):
        raise ValueError("must contain something that can be seen")
    return text


def _trimmed(text: Any) -> Any:
    return text.strip(_BLANKS) if isinstance(text, str) else text


def _known_time_zone(name: str) -> str:
    if name not in time_zones():
        raise ValueError("must be the name of an IANA time zone, such as Europe/Berlin")
    return name


def _known_country(code: str) -> str:
    if code not in countries():
        raise ValueError("must be the two letters of a country, such as GB (ISO 3166-1 alpha-2)")
    return code


def _rfc3339(value: Any) -> Any:
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("must be an RFC 3339 time with its offset from UTC, such as 2030-01-31T12:00:00Z")
    return value


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("is not within the years 1 to 9999 in UTC") from None


@cache
def time_zones() -> frozenset[str]:
    """The names of the IANA time zones."""
    return frozenset(zoneinfo.available_timezones() - {"localtime", "Factory"})  # the machine's, and none at all


@cache
def countries() -> Mapping[str, str]:
    """What the countries are called that have telephone numbers, by their ISO 3166-1 alpha-2 codes."""
    lines = (files("tzdata") / "zoneinfo/iso3166.tab").read_text(encoding="utf-8").splitlines()
    names = dict(line.split("\t") for line in lines if not line.startswith("#"))
    return {code: name for code, name in names.items() if code in SUPPORTED_REGIONS}


PlainText = Annotated[
    str,
    BeforeValidator(_trimmed),
    Field(min_length=1, max_length=255, json_schema_extra={"pattern": r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"}),
    AfterValidator(_single_line),
]
"""A line of text without blanks around it: a database may refuse control characters, and people cannot see them."""

Version = Annotated[int, Field(ge=1, le=2**31 - 1, examples=[1])]
"""The version of an object that people change."""

TimeZone = Annotated[str, Field(max_length=255, examples=["Europe/Berlin"]), AfterValidator(_known_time_zone)]
"""The name of an IANA time zone."""

Country = Annotated[
    str,
    Field(examples=["GB"], json_schema_extra={"pattern": "^[A-Z]{2}$"}),
    AfterValidator(_known_country),
]
"""The ISO 3166-1 alpha-2 code of a country that has telephone numbers."""

Secret = Annotated[SecretStr, Field(min_length=1, max_length=4096, examples=["…"])]
"""A secret, character by character as it was sent."""

ChangedBy = Annotated[
    str | None,
    Field(
        examples=["ada@acme.example"],
        description="Who last set or removed it: an e-mail address, or the name of an API key, as it was then, or "
        "`the operator` of the service; null if that is not known",
    ),
]
"""Of a secret that people set."""

UtcTime = Annotated[AwareDatetime, BeforeValidator(_rfc3339), AfterValidator(_in_utc)]
"""An RFC 3339 time, in UTC once it is read."""
