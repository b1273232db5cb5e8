"""An example of what a JSON Schema describes, made of the examples that its fields have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# For what needs none of its own.
BY_FORMAT: Final = {
    "uuid": "0199b2c4-7d1e-7c3a-9f58-2b6f0c1d4e5a",
    "date-time": "2026-11-20T17:32:10Z",
}


def example_of(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    """One value that fits ``schema``.

    schemas: those that it may refer to, by name. Raises LookupError for a field of which nothing can be said.
    """
    if reference := schema.get("$ref"):
        return example_of(schemas[reference.rpartition("/")[2]], schemas)
    for keyword in ("examples", "enum"):
        if schema.get(keyword):
            return schema[keyword][0]
    for keyword in ("const", "default"):
        if schema.get(keyword) is not None:
            return schema[keyword]
    for keyword in ("anyOf", "oneOf"):  # null is the last of them
        if schema.get(keyword):
            return example_of(schema[keyword][0], schemas)
    if "properties" in schema:
        return {name: example_of(field, schemas) for name, field in schema["properties"].items()}
    if schema.get("type") == "array":
        return [example_of(schema["items"], schemas)]
    if schema.get("type") == "boolean":
        return True
    if schema.get("format") in BY_FORMAT:
        return BY_FORMAT[schema["format"]]
    raise LookupError(f"give an example of {schema.get('title') or dict(schema)}")
