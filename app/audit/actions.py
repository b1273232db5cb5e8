"""Every action that is recorded, and what people are told of who did it: "ada@acme.example", say, "signed in"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# By what they are about.
OF_TENANTS: Final[Mapping[str, Mapping[str, str]]] = {
    "Signing in": {
        "session.started": "signed in",
        "session.password_accepted": "gave the right password, and was asked for more",
        "session.refused": "was not let in",
        "session.authenticated_again": "proved once more who they are",
        "session.replayed": "used a refresh token twice, which ended the session",
        "session.ended": "ended a session",
        "user.signed_out": "signed an account out everywhere",
        "tenant.signed_out": "signed everybody out of the organisation",
        "second_factor.added": "turned a second factor on",
        "second_factor.removed": "turned a second factor off",
        "recovery_codes.renewed": "made new recovery codes",
        "password.changed": "changed their password",
        "password.reset": "set a new password with a mailed link",
        "email_change.requested": "asked for another e-mail address",
        "email.changed": "changed their e-mail address",
    },
    "Team": {
        "invitation.created": "invited somebody",
        "invitation.revoked": "took an invitation back",
        "invitation.accepted": "accepted an invitation",
        "member.added": "added a member to the team",
        "member.updated": "changed a member's role, or disabled or enabled a member",
        "member.removed": "removed a member, or left the team",
        "user.disabled": "disabled an account",
        "user.enabled": "enabled an account",
    },
    "Connections and keys": {
        "phone_system.created": "added a phone system",
        "phone_system.updated": "changed a phone system",
        "phone_system.deleted": "deleted a phone system",
        "webhook_password.rotated": "gave a phone system a new webhook password",
        "previous_webhook_password.removed": "stopped accepting a previous webhook password",
        "payment_account.created": "added a payment account",
        "payment_account.updated": "changed a payment account",
        "payment_account.deleted": "deleted a payment account",
        "api_credential.created": "added an API credential",
        "api_credential.updated": "changed an API credential",
        "api_credential.deleted": "deleted an API credential",
        "api_key.created": "made an API key",
        "api_key.deleted": "deleted an API key",
        "secret.used": "used a stored secret",
        "calls.exported": "downloaded call records",
        "calls.removed": "removed call records that were older than the organisation keeps them",
        "delivery.refused": "delivered with wrong webhook credentials",
        "delivery.unreadable": "delivered something that is no call record of its kind of phone system",
        "delivery.read": "read a delivery that was not understood",
        "delivery.cleared": "deleted the deliveries of a phone system that were not understood",
    },
    "Refused requests": {
        "request.not_authenticated": "asked for something without signing in",
        "request.not_allowed": "asked for something that their role may not do",
        "request.not_found": "asked for something that is not there, or not this organisation's",
        "request.too_many": "sent too many requests",
    },
    "Organisation": {
        "tenant.created": "created the organisation",
        "tenant.changed": "changed the organisation's name, time zone, country, or how long calls are kept",
        "tenant.suspended": "suspended the organisation",
        "tenant.readmitted": "let the organisation in again",
    },
}

# About no tenant, so that only the operator sees them.
OF_NOBODY: Final[Mapping[str, str]] = {
    "everybody.signed_out": "signed everybody out",
    "secrets.adopted": "took over secrets of another application",
    "encryption_key.rotated": "rotated the encryption key",
    "encryption_key.retired": "retired an encryption key",
    "encryption_key.forgotten": "forgot an encryption key",
    "encryption_key.reinstated": "reinstated an encryption key",
    "incident.rotation_began": "began to replace both keys after a break-in",
    "incident.keys_replaced": "replaced both keys after a break-in, with the proof",
    "backup.checked": "checked a backup",
}

WORDS: Final[Mapping[str, str]] = {
    action: words for group in (*OF_TENANTS.values(), OF_NOBODY) for action, words in group.items()
}
