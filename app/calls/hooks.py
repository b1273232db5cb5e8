"""Where phone systems deliver their call records: ``POST /hooks/<subdomain>/<phone system id>/cdr``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from apiflask import APIBlueprint
from flask import Response, request
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from app.audit import tally
from app.audit.actors import Actor, act_as
from app.audit.requests import refusal_is_recorded
from app.audit.service import REFUSED, SUCCESS
from app.calls import throttle
from app.calls.description import KNOWN_FIELDS, RESPONSES, request_body
from app.calls.service import store_records
from app.errors import problem
from app.extensions import db
from app.limits import budget
from app.limits.budget import costs
from app.limits.counting import client_network
from app.metrics.counted import NO_VENDOR, counted
from app.phone_systems import unreadable
from app.phone_systems.vendors import VENDORS, CallRecord, MalformedDelivery, UnreadableDelivery
from app.phone_systems.vendors.authentication import Proof
from app.phone_systems.webhook import Sender, WrongCredentials, authenticate
from app.tenancy import enter_tenant_scope
from app.web import read_beginning, read_body

MAXIMUM_BODY_BYTES: Final = 64 * 1024
SIGNATURE_HEADER: Final = "X-Signature"

api = APIBlueprint("hooks", __name__, url_prefix="/hooks", tag="Hooks")


@api.post("/<subdomain>/<phone_system_id>/cdr")
@api.doc(
    summary="Deliver call records",
    description="As the phone system sends them, which signs in with its webhook user name and password, or signs what "
    "it sends with its webhook secret, whichever its vendor does. To deliver again is safe: a record is stored once.",
    extensions={"requestBody": request_body()},
    responses=RESPONSES,
)
@costs(10)
def deliver(subdomain: str, phone_system_id: str) -> Response | tuple[dict[str, Any], int]:
    """Authenticate first: who has no credentials learns nothing but that."""
    sender = _sign_in(subdomain, phone_system_id)
    try:
        records = _read(sender)
    except UnsupportedMediaType:
        _note_unreadable(sender, "it is of another content type")
        raise
    except RequestEntityTooLarge:
        _note_unreadable(sender, "it is larger than 64 KiB")
        raise
    except UnreadableDelivery as refusal:
        _note_unreadable(sender, _reason(refusal), refusal.errors)
        malformed = isinstance(refusal, MalformedDelivery)
        status = HTTPStatus.BAD_REQUEST if malformed else HTTPStatus.UNPROCESSABLE_ENTITY
        return problem(status, "The delivery is not understood, nothing was stored: see errors.", refusal.errors)
    belongs_to = sender.tenant_id, sender.phone_system_id
    stored = store_records(db.session(), *belongs_to, records, country=sender.country)
    _count(sender.vendor, "accepted" if stored.new else "duplicate")
    return {"ids": stored.ids, "new": stored.new}, HTTPStatus.CREATED if stored.new else HTTPStatus.OK


def _read(sender: Sender) -> list[CallRecord]:
    """The call records in the body. Raises UnsupportedMediaType, RequestEntityTooLarge and UnreadableDelivery."""
    vendor = VENDORS.get(sender.vendor)
    if vendor is None or request.mimetype not in vendor.CONTENT_TYPES:
        raise UnsupportedMediaType("Not a content type that this kind of phone system delivers.")
    return vendor.parse(request.mimetype, read_body(MAXIMUM_BODY_BYTES), sender.time_zone)


def _note_unreadable(sender: Sender, reason: str, errors: Sequence[Mapping[str, str]] = ()) -> None:
    """For the audit trail, and for who waits for a record; and keep what was delivered, for the tenant to see. reason:
    in our words, with nothing that was delivered."""
    _count(sender.vendor, "unreadable")
    details = (("reason", reason),)
    tally.count(tally.Kind("delivery.unreadable", REFUSED, sender.tenant_id, sender.phone_system_id, details))
    if unreadable.is_due(sender.phone_system_id):
        body, size = _refused_body()  # which may arrive slowly: before there is a transaction
        delivered = unreadable.Delivered(request.content_type, body, size, reason, errors)
        unreadable.keep(db.session(), sender.tenant_id, sender.phone_system_id, delivered)


def _refused_body() -> tuple[bytes, int | None]:
    """As much of the body as is kept, and a byte more where there is more; and its size, None where nobody knows it."""
    stated = request.content_length
    if stated is not None and stated > MAXIMUM_BODY_BYTES:  # of which nothing was read yet
        request.max_content_length = stated
        return read_beginning(unreadable.MOST_OF_BODY + 1), stated
    try:
        body = read_body(MAXIMUM_BODY_BYTES)
    except RequestEntityTooLarge:
        return request.get_data(), None  # what was read until it was too much
    return body, len(body)


def _count(vendor: str, outcome: str) -> None:
    counted().deliveries.labels(vendor if vendor in VENDORS else NO_VENDOR, outcome).inc()


def _reason(refusal: UnreadableDelivery) -> str:
    """The first thing that is wrong. A field that we do not know is not named: the name was delivered, too."""
    first = refusal.errors[0]
    named = first["field"] if first["field"] in KNOWN_FIELDS else "a field"
    return f"{named if first['field'] else 'it'} {first['message']}"


def _sign_in(subdomain: str, phone_system_id: str) -> Sender:
    attempt = throttle.Attempt(client_network(), phone_system_id)
    attempt.count()
    given = request.authorization
    basic = given if given is not None and given.type == "basic" else None
    username, password = (basic.username, basic.password) if basic is not None else (None, None)
    signature = request.headers.get(SIGNATURE_HEADER)
    # What is signed has to be read first, from whoever it comes: it may arrive slowly, so not in a transaction.
    signed = read_body(MAXIMUM_BODY_BYTES) if signature is not None else b""
    try:
        sender = authenticate(db.session(), subdomain, phone_system_id, Proof(username, password, signature, signed))
        db.session.commit()  # the body may arrive slowly: no transaction, on SQLite the write lock, waits for it
    except WrongCredentials as refusal:
        _count(NO_VENDOR, "refused")
        attempt.refused()
        # Never with what was claimed, of which a stranger can make up any number; and never stored here: whether it was
        # the first at this phone system, or one more at none, would show by the time that the answer takes.
        refused = tally.Kind("delivery.refused", REFUSED, refusal.tenant_id, refusal.phone_system_id)
        tally.count(refused, at_once=False)
        refusal_is_recorded()
        raise
    enter_tenant_scope(sender.tenant_id)
    act_as(Actor("phone_system", sender.phone_system_id, sender.name))
    budget.spend_for(sender.tenant_id)
    tally.count(tally.Kind("secret.used", SUCCESS, sender.tenant_id, sender.phone_system_id, _which_password(sender)))
    return sender


def _which_password(sender: Sender) -> tuple[tuple[str, str], ...]:
    """For the audit trail. With the time since when it has been this one, so that the first delivery with a new
    password is seen at once, in the same hour as others with the one before."""
    details = (("secret", sender.secret), ("purpose", "delivery"))
    changed_at = sender.secret_changed_at
    return details if changed_at is None else (*details, ("changed_at", changed_at.isoformat()))
