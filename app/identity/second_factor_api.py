"""``/api/me/second-factor`` and ``/api/me/recovery-codes``: a user's own."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import request

from app.extensions import db
from app.identity import second_factor, throttle
from app.identity.access import current_membership, current_session, fresh
from app.identity.schemas import Confirmation, EnrolmentOut, RecoveryCodes, SecondFactorOut
from app.limits.budget import costs

api = APIBlueprint("second_factor", __name__, url_prefix="/api/me", tag="Second factor")


@api.get("/second-factor")
@api.output(SecondFactorOut, description="As it is now")
@api.doc(summary="Show whether signing in takes a code")
@costs(10)
def show() -> dict[str, Any]:
    user = current_membership().user
    left = second_factor.recovery_codes_left(db.session(), user.id)
    return {"on": user.has_second_factor, "since": user.totp_confirmed_at, "recovery_codes_left": left}


@api.post("/second-factor")
@fresh
@api.output(EnrolmentOut, description="For the authenticator app")
@api.doc(
    summary="Begin to add a second factor",
    description="A new secret for an authenticator app (TOTP). It counts once a code of it was confirmed.",
    responses={409: "There is a second factor already"},
)
@costs(10)
def begin() -> EnrolmentOut:
    return EnrolmentOut.model_validate(second_factor.begin(db.session(), current_session().user_id))


@api.post("/second-factor/confirm")
@fresh
@api.input(Confirmation)
@api.output(RecoveryCodes, description="It is on")
@api.doc(
    summary="Switch the second factor on",
    description="Gives recovery codes, and ends the user's other sessions, which began without it.",
    responses={
        409: "There is no second factor that waits to be confirmed",
        429: "Too many codes of this account were wrong",
    },
)
@costs(10)
def confirm(json_data: Confirmation) -> dict[str, Any]:
    user, asking = current_membership().user, current_session().id
    attempt = throttle.Attempt(user.email, request.remote_addr)
    attempt.count_code(db.session())
    codes = second_factor.confirm(db.session(), user.id, json_data.code.get_secret_value(), asking)
    attempt.succeeded(db.session())
    db.session.commit()
    return {"recovery_codes": codes}


@api.delete("/second-factor")
@fresh
@api.output({}, status_code=204, description="The password alone is enough")
@api.doc(summary="Remove the second factor", description="Its user is told by mail.")
@costs(100)
def remove() -> tuple[str, int]:
    second_factor.remove(db.session(), current_session().user_id)
    return "", 204


@api.post("/recovery-codes")
@fresh
@api.output(RecoveryCodes, description="The only ones that are good from now on")
@api.doc(
    summary="Get new recovery codes in place of the old ones", responses={409: "There is no second factor to recover"}
)
@costs(10)
def renew_recovery_codes() -> dict[str, Any]:
    codes = second_factor.renew_recovery_codes(db.session(), current_session().user_id)
    return {"recovery_codes": codes}
