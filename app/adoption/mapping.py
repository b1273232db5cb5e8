"""The mapping: a TOML file that says which columns of another application become what. It holds no secret, but the
names of the variables that do."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model, model_validator

from app.adoption.kinds import KINDS, Kind
from app.config import VARIABLES
from app.encryption.adoption import ENCODINGS, Encoding, NotAdoptable

EXAMPLE: Final = "docs/adoption.md"
_COLUMN: Final = re.compile(r"\{([^{}]+)\}")
_WORDS: Final = {
    "extra_forbidden": "is not known here",
    "missing": "is missing",
    "string_pattern_mismatch": "is to be a name of letters, digits and _ . -",
    "string_type": "is to be a text",
    "string_too_short": "is empty",
    "string_too_long": "is too long",
    "model_type": "is to be a table; { column, encoding } for a secret; for other fields a text will do",
    "dict_type": "is to be a table",
}
_OURS: Final = {name for variable in VARIABLES for name in (variable.name, variable.file_name)}


class MappingRefused(Exception):
    """The mapping cannot be used as it is. ``problems``: sentences that say where and why, without a value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _variable(name: Any) -> Any:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
        raise ValueError("is to be the NAME of a variable, such as OLD_ENCRYPTION_KEY, and never what that holds")
    if name in _OURS:
        raise ValueError("is a variable of AudiaPro itself: give what the other application has another name")
    return name


def _text(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


Variable = Annotated[str, BeforeValidator(_variable)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
Identifier = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, strict=True)


class Text(_Part):
    """A field that is no secret: a text with the names of columns in braces. values: what the result stands for, where
    that is not the result itself."""

    text: str
    values: dict[str, str] | None = None

    @model_validator(mode="after")
    def _has_whole_braces(self) -> Self:
        if {"{", "}"} & {*_COLUMN.sub("", self.text)}:
            raise ValueError("has a brace that does not belong to the name of a column")
        return self

    @property
    def columns(self) -> list[str]:
        return _COLUMN.findall(self.text)

    def render(self, record: Mapping[str, object]) -> str | None:
        """What it says for one row; None where a column is empty. Raises
        :class:`~app.encryption.adoption.NotAdoptable`."""
        parts = {column: _plain(column, record) for column in self.columns}
        if None in parts.values():
            return None
        shown = _COLUMN.sub(lambda match: cast(str, parts[match[1]]), self.text)
        if self.values is None:
            return shown
        if shown not in self.values:
            raise NotAdoptable("is something that the mapping has no value for")
        return self.values[shown]


class Secret(_Part):
    """A field that is sealed. key: the name of the variable that has the keys of Fernet tokens."""

    column: Identifier
    encoding: Encoding
    key: Variable | None = None

    @model_validator(mode="after")
    def _has_its_key(self) -> Self:
        if ("fernet" in self.encoding) != (self.key is not None):
            raise ValueError("needs `key` where the encoding has `fernet` in it, and only there")
        return self


class Join(_Part):
    """The one row of another ``table`` whose column ``matches`` has what ``column`` has. Its columns are
    ``table.column`` in braces."""

    table: Identifier
    column: Identifier
    matches: Identifier


class Section(_Part):
    """What one kind of row is made of: a ``table``, or ``files``, whose variable ``key`` has the application's secret.
    The fields of the kind stand beside these."""

    table: Identifier | None = None
    files: Identifier | None = None
    key: Variable | None = None
    join: Join | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.table is None) == (self.files is None):
            raise ValueError("needs either `table` or `files`")
        if (self.files is None) != (self.key is None):
            raise ValueError("needs `key` with `files`, and only there: columns have their own")
        if self.files is not None and self.join is not None:
            raise ValueError("cannot have `join` with `files`")
        return self

    def texts(self) -> dict[str, Text]:
        """The fields that are no secrets, and ``tenant``."""
        return {name: value for name, value in self if isinstance(value, Text)}

    def secrets(self) -> dict[str, Secret]:
        return {name: value for name, value in self if isinstance(value, Secret)}

    def columns(self) -> list[str]:
        """Every column that is read, each once."""
        wanted = [column for text in self.texts().values() for column in text.columns]
        return list(dict.fromkeys([*wanted, *(secret.column for secret in self.secrets().values())]))


def _section_of(name: str, kind: Kind) -> type[Section]:
    fields: dict[str, Any] = {} if kind.integrations is None else {"tenant": _required(True)}
    fields |= {field: _required(is_required) for field, is_required in kind.fields.items()}
    fields |= dict.fromkeys(sorted(kind.secrets), (Secret | None, None))
    return create_model(f"Section_{name}", __base__=Section, **fields)


def _required(is_required: bool) -> tuple[Any, Any]:
    text = Annotated[Text, BeforeValidator(_text)]
    return (text, ...) if is_required else (text | None, None)


class AdoptionMapping(_Part):
    """source: what tells this source from others for good: a row that was taken over is known again by it. database:
    the name of the variable with the URL."""

    source: Name
    database: Variable | None = None

    def sections(self) -> Iterator[tuple[str, str, Section]]:
        """Kind, name and section, tenants first."""
        for kind in KINDS:
            for name, section in getattr(self, kind).items():
                yield kind, name, section

    def key_names(self) -> list[str]:
        """The names of the variables that have Fernet keys."""
        found = (secret.key for _, _, section in self.sections() for secret in section.secrets().values())
        return sorted({key for key in found if key is not None})


_Mapping: Final[type[AdoptionMapping]] = create_model(
    "Mapping",
    __base__=AdoptionMapping,
    **cast(Any, {name: (dict[Name, _section_of(name, kind)], {}) for name, kind in KINDS.items()}),  # type: ignore[misc]
)


def read_mapping(path: Path) -> AdoptionMapping:
    """Raises :class:`MappingRefused` with everything that is wrong."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise MappingRefused([f"{path} cannot be read ({error.strerror})."]) from None
    except UnicodeDecodeError:
        raise MappingRefused([f"{path} is not UTF-8 text."]) from None
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at .*\)$", str(error))  # the rest may quote the file
        raise MappingRefused([f"{path} is not TOML {place[0] if place else ''}.".replace(" .", ".")]) from None
    try:
        mapping = _Mapping.model_validate(found)
    except ValidationError as refusal:
        problems = [f"{_place(error['loc'])} {_reason(error)}." for error in refusal.errors(include_input=False)]
        raise MappingRefused(problems) from None
    problems = [*_flaws(mapping)]
    if problems:
        raise MappingRefused(problems)
    return mapping


def _flaws(mapping: AdoptionMapping) -> Iterator[str]:
    """What no section shows by itself."""
    sections = [(f"{kind}.{name}", section) for kind, name, section in mapping.sections()]
    if not sections:
        yield f"There is nothing to take over: it has no section such as [phone_systems.pbx]. {EXAMPLE} has an example."
    if mapping.database is None and any(section.table is not None for _, section in sections):
        yield "database is missing: the NAME of the variable that has the source's URL."
    secrets = {(section.table, secret.column) for _, section in sections for secret in section.secrets().values()}
    secrets.add((None, "data"))  # of files: all that was sealed
    for place, section in sections:
        for field, text in section.texts().items():
            if any((section.table, column) in secrets for column in text.columns):
                yield f"{place}.{field} has a column in it that is a secret: it would be stored in the clear."


def taken_twice(mapping: AdoptionMapping) -> list[str]:
    """Columns, and files, of which several secrets are made: to blank one for the first would lose it for the other."""
    found: dict[str, list[str]] = {}
    for kind, name, section in mapping.sections():
        for field, secret in section.secrets().items():
            origin = f"{section.table}.{secret.column}" if section.table is not None else f"{section.files}"
            found.setdefault(origin, []).append(f"{kind}.{name}" + (f".{field}" if section.table else ""))
    return [
        f"{origin} is taken over twice, for {' and '.join(dict.fromkeys(places))}: it cannot be blanked."
        for origin, places in found.items()
        if len({*places}) > 1
    ]


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location if part not in ("[key]", "function-before[_text(), Text]"))


def _reason(error: Any) -> str:
    """Why, in our words where there are some."""
    if error["type"] == "literal_error":
        return f"is to be one of: {', '.join(ENCODINGS)}"
    return _WORDS.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")


def _plain(column: str, record: Mapping[str, object]) -> str | None:
    """A column as text, or None if it is empty. Raises NotAdoptable."""
    if column not in record:
        raise NotAdoptable(f"needs {column}, which is not there")
    value = record[column]
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            value = bytes(value).decode()
        except UnicodeDecodeError:
            raise NotAdoptable(f"has bytes in {column} that are not UTF-8 text") from None
    if isinstance(value, str) and not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise NotAdoptable(f"has text in {column} that is not UTF-8")
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool | float | list | dict):
        raise NotAdoptable(f"needs {column} as text or a whole number, and it is {type(value).__name__}")
    return str(value)
