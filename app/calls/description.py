"""What the API's description says of what no schema of ours does: deliveries, which vendors read, and the export."""

from __future__ import annotations

from typing import Any, Final

from app.phone_systems.vendors import VENDORS

KNOWN_FIELDS: Final = frozenset[str]().union(*(vendor.FIELDS for vendor in VENDORS.values()))


def request_body() -> dict[str, Any]:
    """The OpenAPI Request Body Object of a delivery: each content type, as each vendor that has it fills it."""
    content: dict[str, Any] = {}
    for name, vendor in VENDORS.items():
        for content_type, body in sorted(vendor.BODIES.items()):
            media = content.setdefault(content_type, {"schema": {"anyOf": []}, "examples": {}})
            if body.schema not in media["schema"]["anyOf"]:
                media["schema"]["anyOf"].append(dict(body.schema))
            media["examples"][name] = {"summary": vendor.LABEL, "value": body.example}
    return {"required": True, "description": "Call records, as the phone system writes them.", "content": content}


def _stored(when: str, new: int) -> dict[str, Any]:
    """The OpenAPI Response Object of a delivery with one record."""
    example = {"ids": ["0199b2c4-7d1e-7c3a-9f58-2b6f0c1d4e5a"], "new": new}
    return {"description": when, "content": {"application/json": {"schema": _STORED, "example": example}}}


_STORED: Final = {
    "type": "object",
    "required": ["ids", "new"],
    "properties": {
        "ids": {
            "type": "array",
            "items": {"type": "string", "format": "uuid"},
            "description": "Of the call records, in the order of the delivery",
        },
        "new": {"type": "integer", "description": "How many of them were not stored before"},
    },
}
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: _stored("All of the records were stored before", new=0),
    201: _stored("At least one record is new", new=1),
    400: {"description": "Malformed: nothing was stored"},
    401: {"description": "Wrong credentials, or no such phone system"},
    413: {"description": "Larger than 64 KiB"},
    415: {"description": "Not a content type of this kind of phone system"},
    422: {"description": "Not understood: nothing was stored"},
    429: {"description": "Too many deliveries, too many refused ones, or the tenant's budget is used up"},
}

EXPORT: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The file, sent while it is read",
        "headers": {"Content-Disposition": {"description": "A name for the file", "schema": {"type": "string"}}},
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": "started_at,source,destination\r\n2026-11-20T18:32:10+01:00,'+442071234567,100\r\n",
            },
            "application/json": {
                "schema": {"type": "array", "items": {"$ref": "#/components/schemas/CallOutPage.CallOut"}}
            },
        },
    },
}
