"""Where phone systems deliver their call records: ``POST /hooks/<subdomain>/<phone system id>/cdr``."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from apiflask import APIBlueprint
from flask import Response, request
from flask_limiter.util import get_remote_address
from werkzeug.exceptions import UnsupportedMediaType

from app.calls.service import store_records
from app.errors import Unauthenticated, problem
from app.extensions import db, limiter
from app.phone_systems.vendors import VENDORS, MalformedDelivery, UnreadableDelivery
from app.phone_systems.webhook import authenticate

MAXIMUM_BODY_BYTES: Final = 64 * 1024
CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="AudiaPro"'}

hooks = APIBlueprint("hooks", __name__, url_prefix="/hooks", tag="Hooks")


def _address_and_phone_system() -> str:
    """Bounded, because whoever asks chooses the id."""
    return f"{get_remote_address()} {(request.view_args or {})['phone_system_id'][:36]}"


def _is_refusal(response: Response) -> bool:
    return response.status_code == HTTPStatus.UNAUTHORIZED


@hooks.post("/<subdomain>/<phone_system_id>/cdr")
@hooks.doc(
    summary="Deliver call records",
    description="As the phone system sends them. Authenticated with its webhook user name and password.",
    responses={
        200: "All of the records were stored before",
        201: "At least one record is new",
        401: "Wrong credentials, or no such phone system",
        413: "Larger than 64 KiB",
        415: "Not a content type of this kind of phone system",
        422: "Not understood: nothing was stored",
    },
)
# A busy PBX stays far below the first limit. The second counts only refusals: it ends guessing, and what somebody else
# does at another address does not lock a PBX out.
@limiter.limit("3000/minute", key_func=_address_and_phone_system)
@limiter.limit("60/minute", key_func=get_remote_address, deduct_when=_is_refusal)
def deliver(subdomain: str, phone_system_id: str) -> Response | tuple[dict[str, Any], int]:
    """Authenticate first: who has no credentials learns nothing but that."""
    session = db.session()
    given = request.authorization
    is_basic = given is not None and given.type == "basic"
    try:
        sender = authenticate(
            session,
            subdomain,
            phone_system_id,
            given.username if given is not None and is_basic else None,
            given.password if given is not None and is_basic else None,
        )
    except Unauthenticated as refusal:
        return problem(refusal.status, refusal.detail, headers=CHALLENGE)
    request.max_content_length = MAXIMUM_BODY_BYTES
    vendor = VENDORS.get(sender.vendor)
    if vendor is None:
        raise UnsupportedMediaType("Deliveries of this kind of phone system are not supported.")
    if request.mimetype not in vendor.CONTENT_TYPES:
        accepted = " or ".join(sorted(vendor.CONTENT_TYPES))
        raise UnsupportedMediaType(f"{vendor.LABEL} delivers {accepted}.")
    try:
        records = vendor.parse(request.mimetype, request.get_data(cache=False), sender.time_zone)
    except UnreadableDelivery as unreadable:
        malformed = isinstance(unreadable, MalformedDelivery)
        status = HTTPStatus.BAD_REQUEST if malformed else HTTPStatus.UNPROCESSABLE_ENTITY
        return problem(status, "The delivery is not understood, nothing was stored: see errors.", unreadable.errors)
    stored = store_records(session, sender.tenant_id, sender.phone_system_id, records)
    return {"ids": stored.ids, "new": stored.new}, HTTPStatus.CREATED if stored.new else HTTPStatus.OK
