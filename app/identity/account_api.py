"""Password and e-mail address: one's own, and for those who cannot sign in."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import request

from app.errors import Unauthenticated
from app.extensions import db
from app.identity import accounts, refusals, throttle
from app.identity.access import current_membership, current_session, fresh
from app.identity.schemas import EmailAddress, MailOnItsWay, PasswordChange, Token, TokenAndPassword
from app.identity.users import canonical_email
from app.limits.budget import costs
from app.limits.counting import limited
from app.limits.limit import Limit

TAG = "Password and e-mail address"

password_reset = APIBlueprint("password_reset", __name__, url_prefix="/api/password-reset", tag=TAG)
verify_email = APIBlueprint("verify_email", __name__, url_prefix="/api/verify-email", tag=TAG)
own_account = APIBlueprint("own_account", __name__, url_prefix="/api/me", tag=TAG)


@password_reset.post("")
@limited(Limit.ACCOUNT_MAIL)
@password_reset.input(EmailAddress)
@password_reset.output(MailOnItsWay, status_code=202, description="Sent, whether there is an account or not")
@password_reset.doc(
    summary="Ask for a link to set a new password",
    description="An earlier link is void. To an address without an account the mail says that there is none.",
    responses={429: "Too many requests from this address, or mails to the other"},
)
def request_reset(json_data: EmailAddress) -> MailOnItsWay:
    throttle.count_mail(canonical_email(json_data.email))
    accounts.request_reset(db.session(), json_data.email)
    return MailOnItsWay()


@password_reset.post("/confirm")
@limited(Limit.ACCOUNT_TOKEN)
@password_reset.input(TokenAndPassword)
@password_reset.output({}, status_code=204, description="The password is set, and all sessions have ended")
@password_reset.doc(
    summary="Set a new password with the token of a link",
    description="The second factor stays as it is. The user gets a mail that says so.",
    responses={422: "The link is not valid any more, or the password cannot be used", 429: "Too many attempts"},
)
def reset(json_data: TokenAndPassword) -> tuple[str, int]:
    given = json_data.given()
    accounts.reset_password(db.session(), given["token"], given["password"], request.remote_addr)
    return "", 204


@verify_email.post("")
@limited(Limit.ACCOUNT_TOKEN)
@verify_email.input(Token)
@verify_email.output({}, status_code=204, description="The account has the new address")
@verify_email.doc(
    summary="Change the e-mail address with the token of a link",
    description="The former address gets a mail that says so.",
    responses={
        409: "Another account has this address",
        422: "The link is not valid any more",
        429: "Too many attempts",
    },
)
def change_email(json_data: Token) -> tuple[str, int]:
    accounts.change_email(db.session(), json_data.given()["token"])
    return "", 204


@own_account.post("/password")
@limited(Limit.SIGN_IN)
@fresh
@own_account.input(PasswordChange)
@own_account.output({}, status_code=204, description="The password is set, and all other sessions have ended")
@own_account.doc(
    summary="Change one's own password",
    description="Which takes the current one. The user gets a mail that says so.",
    responses={429: "Too many attempts from this address, or with wrong passwords of this account"},
)
@costs(100)
def change_password(json_data: PasswordChange) -> tuple[str, int]:
    asking, given = current_session(), json_data.given()
    attempt = throttle.Attempt(asking.email, request.remote_addr)
    current, password = given["current_password"], given["password"]
    try:
        accounts.change_password(db.session(), current_membership(), attempt, current, password, keep=asking.id)
    except Unauthenticated as refusal:
        refusals.record(asking.email, refusal)
        raise
    return "", 204


@own_account.post("/email")
@fresh
@own_account.input(EmailAddress)
@own_account.output(MailOnItsWay, status_code=202, description="A mail is on its way to the new address")
@own_account.doc(
    summary="Change one's own e-mail address",
    description="The address changes when the link in the mail to the new one is used.",
    responses={429: "Too many mails to this address"},
)
@costs(100)
def request_email_change(json_data: EmailAddress) -> MailOnItsWay:
    throttle.count_mail(canonical_email(json_data.email))
    accounts.request_email_change(db.session(), current_session().user_id, json_data.email)
    return MailOnItsWay()
