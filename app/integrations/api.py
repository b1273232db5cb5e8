"""The routes that every kind of integration has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from apiflask import APIBlueprint
from flask import url_for

from app.extensions import db
from app.identity.access import current_membership
from app.integrations.schemas import Changes, DeleteQuery, Written
from app.integrations.service import Integrations
from app.limits.budget import costs
from app.pagination import Page, PageQuery
from app.schemas import Input, VersionedRecord


class Schemas(NamedTuple):
    """What comes in (to create, to change) and goes out (an object, a page of them, the answer to a change, and to a
    creation)."""

    given: type[Input]
    changes: type[Changes]
    shown: type[VersionedRecord]
    page: type[Page[Any]]
    written: type[Written]
    created: type[Written]


def integration_routes(
    name: str,
    path: str,
    integrations: Integrations[Any],
    schemas: Schemas,
    *,
    one: str,
    several: str,
    example: Mapping[str, Any],
) -> APIBlueprint:
    """A blueprint that creates, lists, shows, changes and deletes one kind of integration of the caller's tenant.

    one, several: what the API's description calls them, such as "a phone system" and "phone systems".
    example: of a change, for the same description.
    """
    api = APIBlueprint(name, __name__, url_prefix=path, tag=several[0].upper() + several[1:])

    @api.post("")
    @api.input(schemas.given)
    @api.output(schemas.created, status_code=201, description="As it is stored now")
    @api.doc(summary=f"Create {one}")
    @costs(10)
    def create(json_data: Input) -> tuple[Written, dict[str, str]]:
        given = json_data.given()
        row = integrations.create(db.session(), current_membership().tenant_id, given)
        return schemas.created.created(row, given), {"Location": url_for(f"{name}.show", id=row.id)}

    @api.get("")
    @api.input(PageQuery, location="query")
    @api.output(schemas.page, description="A page")
    @api.doc(summary=f"List the {several}, newest first")
    @costs(20)
    def list_page(query_data: PageQuery) -> dict[str, Any]:
        items, following = integrations.list_page(db.session(), current_membership().tenant_id, query_data)
        return {"items": items, "next": following}

    @api.get("/<uuid:id>")
    @api.output(schemas.shown, description="As it is now")
    @api.doc(summary=f"Show {one}")
    @costs(10)
    def show(id: UUID) -> VersionedRecord:
        return schemas.shown.model_validate(integrations.get(db.session(), current_membership().tenant_id, id))

    @api.patch("/<uuid:id>")
    @api.input(schemas.changes, example={**example, "version": 1})
    @api.output(schemas.written, description="As it is now")
    @api.doc(
        summary=f"Change {one}",
        description="Fields that are left out stay as they are; null removes what a field holds.",
        responses=[409],
    )
    @costs(10)
    def change(id: UUID, json_data: Changes) -> Written:
        tenant_id, changes = current_membership().tenant_id, json_data.given()
        version = changes.pop("version", None)
        return schemas.written.changed(*integrations.update(db.session(), tenant_id, id, changes, version))

    @api.delete("/<uuid:id>")
    @api.input(DeleteQuery, location="query")
    @api.output({}, status_code=204, description="It is gone")
    @api.doc(summary=f"Delete {one}", responses=[409])
    @costs(10)
    def delete(id: UUID, query_data: DeleteQuery) -> tuple[str, int]:
        integrations.delete(db.session(), current_membership().tenant_id, id, query_data.version)
        return "", 204

    return api
