"""Reading a row of another application as the fields of one of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from app.adoption.kinds import KINDS, Kind
from app.adoption.mapping import Section
from app.adoption.sources import Record, Source
from app.encryption.adoption import NotAdoptable, OldKeys, is_empty, open_value


class Refused(Exception):
    """A row cannot be taken over: fields, and why. An empty field is the whole row."""

    def __init__(self, *reasons: tuple[str, str]) -> None:
        super().__init__()
        self.reasons = reasons


@dataclass(frozen=True)
class Part:
    """A section of the mapping, what it is read from, and the keys of its tokens by the names of their variables."""

    kind_name: str
    name: str
    section: Section
    source: Source
    keys: Mapping[str | None, OldKeys]

    @property
    def label(self) -> str:
        return f"{self.kind_name}.{self.name}"

    @property
    def kind(self) -> Kind:
        return KINDS[self.kind_name]

    @property
    def whose(self) -> str:
        """The field that has a tenant's subdomain."""
        return "subdomain" if self.kind.integrations is None else "tenant"


@dataclass(frozen=True, repr=False)
class Row:
    """One row of the source, as it was read."""

    part: Part
    key: object
    record: Record

    def columns(self) -> list[str]:
        """The columns that have a secret in them."""
        secrets = self.part.section.secrets().values()
        return [secret.column for secret in secrets if not is_empty(self.record[secret.column])]

    def text(self, name: str) -> str:
        """One field that has to be there. Raises Refused."""
        found = _each({name: self.part.section.texts()[name]}, lambda text: text.render(self.record))
        if name not in found:
            raise Refused((name, "is empty in the source"))
        return found[name]

    def texts(self) -> dict[str, str]:
        """The fields that are no secrets, without those that are empty. Raises Refused."""
        texts = {name: text for name, text in self.part.section.texts().items() if name != "tenant"}
        return _each(texts, lambda text: text.render(self.record))

    def secrets(self) -> dict[str, str]:
        """The secrets, opened, without those that are empty. Raises Refused."""

        def opened(secret: Any) -> str | None:
            value = self.record[secret.column]
            return None if is_empty(value) else open_value(value, secret.encoding, self.part.keys.get(secret.key))

        found = _each(self.part.section.secrets(), opened)
        return {name: text for name, text in found.items() if text}

    def checked(self, values: Mapping[str, str]) -> dict[str, Any]:
        """As the API checks them. Raises Refused."""
        try:
            return self.part.kind.schema.model_validate(values).given()
        except ValidationError as refusal:
            errors = refusal.errors(include_input=False, include_url=False)
            raise Refused(*((str(error["loc"][0]), _reason(error)) for error in errors)) from None


def _each(fields: Mapping[str, Any], read: Callable[[Any], str | None]) -> dict[str, str]:
    found, reasons = {}, []
    for name, part in fields.items():
        try:
            if (value := read(part)) is not None:
                found[name] = value
        except NotAdoptable as refusal:
            reasons.append((name, refusal.reason))
    if reasons:
        raise Refused(*reasons)
    return found


def _reason(error: Any) -> str:
    """Without what a library would say of the value, such as its length."""
    if error["type"] in ("too_long", "string_too_long"):
        return f"is longer than {error['ctx']['max_length']} characters"
    return "is empty in the source" if error["type"] == "missing" else str(error["msg"]).removeprefix("Value error, ")
