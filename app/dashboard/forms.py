"""What the forms of all pages have in common.

A form is only declared here: labels, hints, kinds of fields. What is valid is said once, by the same schemas that the
API has: see :meth:`Form.read`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final, TypeVar

from flask import g, request
from flask_wtf import FlaskForm
from pydantic import BaseModel, ValidationError
from wtforms import HiddenField, PasswordField
from wtforms.validators import InputRequired

from app.dashboard import notes
from app.dashboard.rendering import in_words
from app.errors import FieldErrors, Problem, TooManyRequests
from app.schemas import countries, time_zones

Schema = TypeVar("Schema", bound=BaseModel)

EMPTY: Final = "Please fill this in."

# What Pydantic's own messages say to programmers, for people. Messages of our own validators stay as they are.
_PLAIN: Final = {
    "missing": EMPTY,
    "string_too_short": EMPTY,
    "too_short": EMPTY,
    "none_required": EMPTY,
    "string_type": EMPTY,
    "string_too_long": "This is too long: at most {max_length} characters.",
    "too_long": "This is too long: at most {max_length} characters.",
    "literal_error": "Please choose one of these.",
    "uuid_parsing": "This is not an id.",
    "int_parsing": "This must be a whole number.",
    "int_parsing_size": "This must be a whole number.",
    "int_from_float": "This must be a whole number.",
    "greater_than_equal": "This must be at least {ge}.",
    "less_than_equal": "This must be at most {le}.",
}
SECRETS: Final[set[str]] = {"code"}  # the names of all fields that hold one, in whichever form


def needed() -> InputRequired:
    """Validates a field that must not be left empty."""
    return InputRequired(EMPTY)


class SecretField(PasswordField):
    """A secret that is entered: never written into a page, and not kept when a form has to be shown again."""

    def __init__(
        self, label: str, validators: list[Any] | None = None, *, autocomplete: str = "off", **options: Any
    ) -> None:
        # Password managers would offer the user's own password for what is none of theirs.
        given = {"autocomplete": autocomplete, "spellcheck": "false", **options.pop("render_kw", {})}
        super().__init__(label, validators, render_kw=given, **options)


class Form(FlaskForm):
    """A form of a page."""

    class Meta(FlaskForm.Meta):
        def wrap_formdata(self, form: Any, formdata: Any) -> Any:
            """Fields of a form alone: neither JSON nor files."""
            if formdata is None or not hasattr(formdata, "getlist"):
                return request.form if formdata is not None and request.method == "POST" else None
            return formdata

    def __init__(
        self, *, blank: bool = False, prefix: str = "", data: Mapping[str, Any] | None = None, obj: object = None
    ) -> None:
        """blank: nothing was sent that would belong to it. data, obj: what the fields hold until somebody types."""
        given: dict[str, Any] = {"formdata": None} if blank else {}
        super().__init__(obj=obj, prefix=prefix, data=data, **given)  # type: ignore[no-untyped-call]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        fields = {name: value for name in dir(cls) if hasattr(value := getattr(cls, name), "field_class")}
        SECRETS.update(name for name, field in fields.items() if issubclass(field.field_class, SecretField))

    def is_sent(self) -> bool:
        """Whether to do what it asks for: it was sent, by somebody who saw it just as it is. One that comes back from a
        step in between is shown again first: see :mod:`app.dashboard.steps`."""
        return request.method == "POST" and not g.get("resumed") and bool(self.validate())

    def read(self, schema: type[Schema], values: Mapping[str, Any]) -> Schema | None:
        """What ``schema`` makes of ``values``; or None, with what is wrong written beside the fields."""
        try:
            return schema.model_validate(values)
        except ValidationError as error:
            self.complain(
                {"field": str(one["loc"][0]) if one["loc"] else "", "message": _plain(one)} for one in error.errors()
            )
            return None

    def refuse(self, refusal: Problem) -> None:
        """Show what a service refused: beside the fields that it names, or above the form, with when to try again where
        that is known."""
        self.complain(refusal.errors or [{"field": "", "message": refusal.detail}])
        if isinstance(refusal, TooManyRequests):
            self.form_errors.append(f"Try again in {in_words(refusal.retry_after)}.")

    def complain(self, errors: Iterable[dict[str, str]] | FieldErrors) -> None:
        """Write messages beside their fields; those of none of the form's fields above it."""
        for error in errors:
            field = self._fields.get(error["field"])
            if field is None:
                self.form_errors.append(_sentence(error["message"]))
            else:
                field.errors = [*field.errors, _sentence(error["message"])]

    def text(self, name: str) -> str:
        """What was typed into a field; an empty text for nothing."""
        return str(self[name].data or "")

    def texts(self, *names: str) -> dict[str, Any]:
        """The values of these fields; None for those left empty."""
        return {name: self[name].data or None for name in names}


class VersionedForm(Form):
    """A form about something that others may change meanwhile: it knows which version it was made for."""

    version = HiddenField()

    def sent_version(self) -> int:
        """What was sent; 0, which nothing ever has, for what is none."""
        text = self.text("version")
        return int(text) if text.isdecimal() and len(text) < 10 else 0


class Filters(Form):
    """What a list is narrowed to. It is sent by GET, so that the page's address has it; see :class:`Form` for the rest.
    Nobody has to fill in any of it."""

    class Meta:
        csrf = False

    def __init__(self) -> None:
        FlaskForm.__init__(self, formdata=request.args)
        for field in self:
            field.flags.optional_silently = True


@cache
def time_zone_choices() -> dict[str, list[tuple[str, str]]]:
    """The IANA time zones by continent, for a field to choose from."""
    choices: dict[str, list[tuple[str, str]]] = {"Universal": [("UTC", "UTC")]}
    for name in sorted(time_zones() - {"UTC"}, key=lambda name: ("/" not in name, name)):
        continent, _, place = name.partition("/") if "/" in name else ("Other", "", name)
        choices.setdefault(continent, []).append((name, place.replace("_", " ")))
    return choices


@cache
def country_choices() -> list[tuple[str, str]]:
    """The countries by their names, for a field to choose from."""
    return [("", "Not known"), *sorted(countries().items(), key=lambda country: country[1])]


def note(message: str) -> None:
    """Tell the user, on the page that comes next, that something was done."""
    notes.keep("success", message)


def warn(message: str) -> None:
    """Tell the user, on the page that comes next, what they should know of what was done."""
    notes.keep("warning", message)


def warn_of_button() -> None:
    """Tell the user, on the page that comes next, that the button there did nothing: a step came in between."""
    warn("That is not done yet: please press the button again.")


def _plain(error: Mapping[str, Any]) -> str:
    if error["type"] in _PLAIN:
        return _PLAIN[error["type"]].format(**error.get("ctx", {}))
    return str(error["msg"]).removeprefix("Value error, ")


def _sentence(message: str) -> str:
    """The API's messages continue the name of their field: "must be …"."""
    if message.startswith(("must ", "is ")):
        message = f"This {message}"
    return message[:1].upper() + message[1:] + ("" if message.endswith((".", "!", "?")) else ".")
