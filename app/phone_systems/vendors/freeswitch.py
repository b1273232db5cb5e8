"""FreeSWITCH, and FusionPBX which is built on it: ``mod_json_cdr``, as its source has it (mod_json_cdr.c and
``switch_ivr_generate_json_cdr``).

One delivery is one leg, as one JSON object. ``variables`` are the channel's, text all of them; ``callflow`` has what
was dialled, the newest first. Times are seconds since 1970, whatever the zone of the PBX's clock is; 0 means never.

``encode`` says what is posted: the JSON alone, a form whose ``cdr`` it is, or ``cdr=`` and its base64. And
``encode-values``, on unless it is turned off, URL-encodes the variables, and nothing else. Together with a form that
leaves quotes in variables that cannot be told for sure: FreeSWITCH encodes no percent sign a second time.

A leg's ``uuid`` tells it from every other, with its start in case people set it themselves. ``call_uuid`` ties a leg to
the one that called it.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote
from xml.sax.saxutils import quoteattr
from zoneinfo import ZoneInfo

from app import strict_json
from app.phone_systems.vendors import authentication
from app.phone_systems.vendors.described import Body
from app.phone_systems.vendors.local_time import Moments
from app.phone_systems.vendors.records import (
    FORM,
    JSON,
    CallRecord,
    Fields,
    MalformedDelivery,
    UnreadableDelivery,
    as_object,
    decode,
    key_of,
    out_of_order,
    usable_name,
)
from app.phone_systems.vendors.set_up import PASSWORD_HERE, SetUp, Step

BASE64: Final = "application/x-www-form-base64-encoded"
LABEL: Final = "FreeSWITCH / FusionPBX"
AUTHENTICATION: Final = authentication.BASIC
EXAMPLE: Final[Mapping[str, Any]] = {
    "core-uuid": "5f0f7c1e-6f0a-4f5e-9f0e-0d4c2b1a9e77",
    "switchname": "pbx",
    "channel_data": {"state": "CS_REPORTING", "direction": "inbound"},
    "variables": {
        "direction": "inbound",
        "uuid": "2f6b2a0c-52a5-4a3e-8f1a-7d0f4f3c9b21",
        "call_uuid": "2f6b2a0c-52a5-4a3e-8f1a-7d0f4f3c9b21",
        "start_stamp": "2026-11-20%2018%3A32%3A10",
        "start_epoch": "1795195930",
        "answer_epoch": "1795195932",
        "end_epoch": "1795195990",
        "duration": "60",
        "billsec": "58",
        "hangup_cause": "NORMAL_CLEARING",
        "last_app": "bridge",
    },
    "callflow": [
        {
            "caller_profile": {
                "caller_id_name": "Ada Lovelace",
                "caller_id_number": "+442071234567",
                "destination_number": "100",
                "context": "public",
            }
        }
    ],
}
_IN_JSON: Final = json.dumps(EXAMPLE, separators=(",", ":"))
_TEXT: Final = {"type": "string"}
BODIES: Final = {
    JSON: Body(
        {
            "type": "object",
            "required": ["variables"],
            "properties": {
                "variables": {
                    "type": "object",
                    "required": ["uuid", "start_epoch", "duration", "billsec"],
                    "additionalProperties": _TEXT,
                },
                "callflow": {"type": "array", "items": {"type": "object"}},
            },
            "additionalProperties": True,
        },
        EXAMPLE,
    ),
    FORM: Body(
        {"type": "object", "required": ["cdr"], "properties": {"cdr": {**_TEXT, "description": "The same as JSON"}}},
        {"cdr": _IN_JSON},
    ),
    BASE64: Body(
        {**_TEXT, "description": "`cdr=` and the base64 of the JSON", "pattern": "^cdr="},
        f"cdr={b64encode(_IN_JSON.encode()).decode()}",
    ),
}
CONTENT_TYPES: Final = frozenset(BODIES)

_PROFILE: Final = ("caller_id_name", "caller_id_number", "destination_number", "context", "network_addr", "rdnis")
_IN_COLUMNS: Final = frozenset(
    {"caller_id_number", "destination_number", "start_epoch", "answer_epoch", "end_epoch", "duration", "billsec"}
)
_KEPT: Final = (  # of some hundred variables, most of which are about how the call was set up
    *("uuid", "call_uuid", "start_epoch", "answer_epoch", "end_epoch", "duration", "billsec", "hangup_cause"),
    *("direction", "hangup_cause_q850", "sip_term_status", "sip_hangup_disposition", "last_app", "bridge_uuid"),
    *("originating_leg_uuid", "accountcode", "domain_name", "sip_call_id", "sip_from_user", "sip_to_user"),
    *("sip_gateway_name", "effective_caller_id_name", "effective_caller_id_number", "progresssec", "answersec"),
    *("waitsec", "hold_accum_seconds", "read_codec", "write_codec", "record_name", "cc_queue", "cc_agent"),
)
FIELDS: Final = frozenset({"variables", *_PROFILE, *_KEPT})

_VOICEMAIL: Final = "voicemail"
_UNANSWERED: Final = {  # what the hangup cause of a leg means that nobody answered
    **dict.fromkeys(("USER_BUSY", "BUSY_EVERYWHERE", "CALL_REJECTED", "DECLINE", "REJECT_ALL"), "busy"),
    **dict.fromkeys(("NO_ANSWER", "NO_USER_RESPONSE", "ORIGINATOR_CANCEL", "ALLOTTED_TIMEOUT"), "no_answer"),
    **dict.fromkeys(("NORMAL_CLEARING", "LOSE_RACE", "PICKED_OFF", "NO_PICKUP", "PROGRESS_TIMEOUT"), "no_answer"),
    **dict.fromkeys(("", "NONE", "SUCCESS", "NORMAL_UNSPECIFIED"), "other"),
    **dict.fromkeys(("BLIND_TRANSFER", "ATTENDED_TRANSFER"), "other"),
}
_RAW: Final = re.compile(r'[\r\n #&+:;<=>?@\[\\\]^`{|}"]')  # what FreeSWITCH's URL-encoding leaves nowhere
_QUOTE_IN_TEXT: Final = re.compile(r'(?<![{\[,:\\])"(?![,}\]:])')
_BOTH_ENCODED: Final = "is no JSON: in json_cdr.conf.xml set encode to false, or encode-values to false"


def parse(content_type: str, body: bytes, time_zone: ZoneInfo) -> list[CallRecord]:
    """The one leg of a delivery. Raises :class:`~records.UnreadableDelivery`."""
    cdr = as_object(_document(content_type, body))
    variables = as_object(cdr.get("variables"), "variables")
    profile = _caller_profile(cdr.get("callflow"))
    chosen = {name: variables[name] for name in _KEPT if name in variables}
    if _are_encoded(variables):
        chosen = {
            name: unquote(text, errors="replace") if isinstance(text, str) else text for name, text in chosen.items()
        }
    return [_record(Fields({**{name: profile[name] for name in _PROFILE if name in profile}, **chosen}))]


def _record(fields: Fields) -> CallRecord:
    uuid = fields.text("uuid", required=True)
    start = fields.epoch("start_epoch", required=True)
    answer, end = fields.epoch("answer_epoch"), fields.epoch("end_epoch")
    duration, talk = fields.talk_within("duration", "billsec")
    source, destination = fields.text("caller_id_number"), fields.text("destination_number")
    name = fields.text("caller_id_name")
    cause, application = fields.text("hangup_cause"), fields.text("last_app")
    linked_id = fields.text("call_uuid") or uuid
    if start is not None and not fields.problems:
        wrong = out_of_order(Moments(start, answer, end))
        fields.problems += [(f"{field}_epoch", message) for field, message in wrong]
    if start is None or fields.problems:
        raise UnreadableDelivery(fields.problems)
    return CallRecord(
        record_key=key_of([uuid, start.isoformat()]),
        linked_id=linked_id,
        source=source,
        destination=destination,
        caller_name=usable_name(name) if name != source else None,
        started_at=start,
        answered_at=answer,
        ended_at=end,
        duration_seconds=duration,
        talk_seconds=talk,
        disposition=_disposition(cause, application, is_answered=answer is not None),
        details=fields.others(but=_IN_COLUMNS),
    )


def _disposition(cause: str, application: str, *, is_answered: bool) -> str:
    if is_answered:
        return "voicemail" if application.lower() == _VOICEMAIL else "answered"
    return _UNANSWERED.get(cause.upper(), "failed")


def _caller_profile(callflow: Any) -> Mapping[str, Any]:
    """The newest of a leg's profiles: who called, and whom, after all transfers."""
    first = callflow[0] if isinstance(callflow, list) and callflow else None
    profile = first.get("caller_profile") if isinstance(first, dict) else None
    return profile if isinstance(profile, dict) else {}


def _are_encoded(variables: Mapping[str, Any]) -> bool:
    """Whether ``encode-values`` is on, and no form has undone it: then nothing stands in any value that it encodes. A
    time stamp, which every leg has, is enough to tell."""
    return not any(_RAW.search(text) for text in variables.values() if isinstance(text, str))


def _document(content_type: str, body: bytes) -> Any:
    """The JSON in a body. Raises :class:`MalformedDelivery`."""
    if content_type == BASE64:
        field, _, encoded = body.partition(b"=")
        try:
            return decode(JSON, b64decode(encoded if field == b"cdr" else b"?", validate=True))
        except NotBase64:
            raise MalformedDelivery("is not in the format that its Content-Type names") from None
    if content_type != FORM:
        return decode(content_type, body)
    text = as_object(decode(content_type, body)).get("cdr", "")
    try:
        return strict_json.loads(text)
    except ValueError:
        return _with_quotes_in_text(text)


def _with_quotes_in_text(text: str) -> Any:
    """What a form holds whose values were encoded as well: with quotes in texts, where they can be told. A field that a
    caller slips in that way stands there twice, which is refused, if the leg has it itself."""
    mended = _QUOTE_IN_TEXT.sub('\\\\"', text)
    try:
        return strict_json.loads(mended, strict=False)
    except ValueError:
        raise MalformedDelivery(_BOTH_ENCODED) from None


def set_up(url: str, username: str, password: str = PASSWORD_HERE) -> SetUp:
    """How to make it deliver to ``url`` with these credentials: ``json_cdr.conf.xml``."""
    lines = _CONFIGURATION.format(url=quoteattr(url), credentials=quoteattr(f"{username}:{password}"))
    return SetUp(
        (
            Step(
                "On the FreeSWITCH server replace autoload_configs/json_cdr.conf.xml in its folder of configurations, "
                "which is /etc/freeswitch in most packages. Only root and FreeSWITCH should be able to read it.",
                code=lines,
            ),
            Step(
                "Have the module loaded with every start: this line belongs into autoload_configs/modules.conf.xml. On "
                "FusionPBX enable JSON CDR under Advanced, Modules instead.",
                code='<load module="mod_json_cdr"/>',
            ),
            Step(
                "Load it now.",
                code='fs_cli -x "reloadxml"\nfs_cli -x "unload mod_json_cdr"\nfs_cli -x "load mod_json_cdr"',
            ),
            Step("Make a call, and hang up."),
        ),
        "If no record comes: does the FreeSWITCH server reach the webhook URL, and does its log say Got error, or "
        "Unable to post to web server? It keeps what it could not post as files, in json_cdr beside its log.",
    )


_CONFIGURATION: Final = """\
<configuration name="json_cdr.conf" description="JSON CDR">
  <settings>
    <param name="url" value={url}/>
    <param name="auth-scheme" value="basic"/>
    <param name="cred" value={credentials}/>
    <param name="encode" value="false"/>
    <param name="encode-values" value="true"/>
    <param name="log-b-leg" value="true"/>
    <param name="timeout" value="10"/>
    <param name="retries" value="2"/>
    <param name="delay" value="5"/>
    <param name="queue-capacity" value="10000"/>
    <param name="enable-cacert-check" value="true"/>
    <param name="enable-ssl-verifyhost" value="true"/>
  </settings>
</configuration>
"""
