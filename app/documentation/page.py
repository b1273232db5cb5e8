"""What the documentation page shows, out of the OpenAPI document."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

FORM: Final = "application/x-www-form-urlencoded"
CREDENTIALS: Final = {
    "access_token": ("an access token", '-H "Authorization: Bearer $TOKEN"'),
    "api_key": ("an API key", '-H "Authorization: Bearer $API_KEY"'),
    "refresh_token": ("a refresh token", '-H "Authorization: Bearer $REFRESH_TOKEN"'),
    "webhook_signature": ("the signature that a Yeastar makes", '-H "X-Signature: $SIGNATURE"'),
    "webhook_credentials": ("the webhook credentials of the phone system", '-u "pbx:$WEBHOOK_PASSWORD"'),
}


class Field(NamedTuple):
    """A parameter, or a field of a body; ``user.id`` is the field ``id`` of ``user``, ``items[].id`` that of each item.

    kind: what it can hold, in words.
    """

    name: str
    kind: str
    required: bool
    text: str


class Example(NamedTuple):
    """A body as it is sent, under a caption."""

    caption: str
    body: str


class Body(NamedTuple):
    """A request's or an answer's."""

    media_type: str
    fields: list[Field]
    examples: list[Example]


class Answer(NamedTuple):
    status: str
    when: str
    bodies: list[Body]


class Operation(NamedTuple):
    """One method of one path. credentials: what it asks for, in words, or None. cost: in units of the tenant's budget,
    or None. curl: a line for the shell, with the first of the credentials."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    credentials: str | None
    cost: int | None
    parameters: list[Field]
    bodies: list[Body]
    answers: list[Answer]
    curl: str


class Section(NamedTuple):
    name: str
    operations: list[Operation]


def sections(spec: Mapping[str, Any]) -> list[Section]:
    """All operations of an OpenAPI document, by their first tag, in the order of the tags."""
    schemas = spec["components"]["schemas"]
    operations = [
        (operation["tags"][0], _operation(path, method, operation, schemas))
        for path, methods in spec["paths"].items()
        for method, operation in methods.items()
    ]
    return [
        Section(tag["name"], sorted((found for name, found in operations if name == tag["name"]), key=_by_path))
        for tag in spec["tags"]
    ]


def _by_path(operation: Operation) -> str:
    return operation.path


def _operation(path: str, method: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Operation:
    bodies = _bodies(operation.get("requestBody", {}), schemas)
    accepted = [CREDENTIALS[name] for one in operation.get("security", ()) for name in one]
    return Operation(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation.get("description", ""),
        credentials=" or ".join(words for words, _ in accepted) or None,
        cost=operation.get("x-cost"),
        parameters=[_parameter(parameter) for parameter in operation["parameters"]],
        bodies=bodies,
        answers=[
            Answer(status, response["description"], _bodies(response, schemas) if status < "400" else [])
            for status, response in operation["responses"].items()
        ],
        curl=_curl(path, method.upper(), operation, accepted[0][1] if accepted else None),
    )


def _parameter(parameter: Mapping[str, Any]) -> Field:
    schema = parameter["schema"]
    text = parameter.get("description") or schema.get("description", "")
    return Field(parameter["name"], _kind(schema), parameter.get("required", False), text)


def _bodies(described: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[Body]:
    return [
        Body(media_type, _fields_of_any(media["schema"], schemas), _examples(media_type, media))
        for media_type, media in described.get("content", {}).items()
    ]


def _fields_of_any(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[Field]:
    """The fields of a body; of one that may be several things, those of each, and required is what every one does."""
    bodies = [[*_fields(one, schemas)] for one in schema.get("anyOf", [schema])]
    described = {field.name: field for body in reversed(bodies) for field in body}
    required = [{field.name for field in body if field.required} for body in bodies]
    return [field._replace(required=all(field.name in one for one in required)) for field in described.values()]


def _examples(media_type: str, media: Mapping[str, Any]) -> list[Example]:
    named = media.get("examples") or {"": {"value": media["example"]}}
    return [Example(one.get("summary", ""), _text(media_type, one["value"])) for one in named.values()]


def _text(media_type: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    return urlencode(value) if media_type == FORM else json.dumps(value, indent=2, ensure_ascii=False)


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any], prefix: str = "") -> Iterator[Field]:
    schema = _resolved(schema, schemas)
    for name, field in schema.get("properties", {}).items():
        whole = _resolved(field, schemas)
        text = field.get("description") or whole.get("description", "")
        yield Field(prefix + name, _kind(whole), name in schema.get("required", ()), text)
        if whole.get("type") == "array":
            yield from _fields(whole["items"], schemas, f"{prefix}{name}[].")
        else:
            yield from _fields(whole, schemas, f"{prefix}{name}.")


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def _kind(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = {"uuid": "UUID", "date-time": "time", "uri": "URL", "password": "secret"}.get(schema.get("format", ""))
    words = [kind or schema.get("type", "object")]
    if "maxLength" in schema and kind is None:
        words.append(f"of at most {schema['maxLength']} characters")
    if "default" in schema and schema.get("type") == "integer":
        words.append(f"from {schema['minimum']} to {schema['maximum']}, {schema['default']} if left out")
    return " ".join(words)


def _curl(path: str, method: str, operation: Mapping[str, Any], credentials: str | None) -> str:
    """A line to copy: $URL, $ID and the credentials are the reader's."""
    url = "$URL" + path.replace("{id}", "$ID").replace("{subdomain}", "acme").replace("{phone_system_id}", "$ID")
    parts = ["curl -sS"]
    content = operation.get("requestBody", {}).get("content", {})
    if method not in ("GET", "POST") or (method == "POST" and not content):
        parts.append(f"-X {method}")
    parts.append(f'"{url}"')
    if credentials:
        parts.append(credentials)
    if FORM in content:
        fields = next(iter(content[FORM]["examples"].values()))["value"]
        parts.append(f"-d {shlex.quote(urlencode(fields))}")
    elif content:
        example = json.dumps(content["application/json"]["example"], ensure_ascii=False)
        parts += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(example)}"]
    return " \\\n  ".join(parts)
