"""Signing up."""

from __future__ import annotations

from apiflask import APIBlueprint

from app.extensions import db
from app.identity import throttle
from app.identity.schemas import MailOnItsWay
from app.identity.users import canonical_email
from app.limits.counting import limited
from app.limits.limit import Limit
from app.tenants import sign_up as service
from app.tenants.schemas import Joined, SignUpConfirmation, SignUpIn

api = APIBlueprint("sign_up", __name__, url_prefix="/api/signup", tag="Signing up")

CLOSED = "Nobody can sign up here by themselves"


@api.post("")
@limited(Limit.ACCOUNT_MAIL)
@api.input(SignUpIn)
@api.output(MailOnItsWay, status_code=202, description="Sent, whether there is an account or not")
@api.doc(
    summary="Sign up: ask for a tenant of one's own",
    description="Nothing is taken before the link in the mail is used. Another sign-up of the address replaces this.",
    responses={
        403: CLOSED,
        409: "The subdomain is taken",
        429: "Too many requests from this address, or mails to the other",
    },
)
def request(json_data: SignUpIn) -> MailOnItsWay:
    service.require_open()
    throttle.count_mail(canonical_email(json_data.email))
    service.request(db.session(), **json_data.model_dump())
    return MailOnItsWay()


@api.post("/confirm")
@limited(Limit.ACCOUNT_TOKEN)
@api.input(SignUpConfirmation)
@api.output(Joined, status_code=201, description="The tenant, and its owner, who can sign in now")
@api.doc(
    summary="Confirm a sign-up with the token of its link",
    responses={
        403: CLOSED,
        409: "The subdomain was taken meanwhile: give another one, the token is still good",
        422: "The link is not valid any more, or the password is missing, superfluous or cannot be used",
        429: "Too many attempts",
    },
)
def confirm(json_data: SignUpConfirmation) -> Joined:
    service.require_open()
    given = json_data.given()
    membership = service.confirm(db.session(), given["token"], given.get("password"), given.get("subdomain"))
    return Joined.model_validate(membership)
