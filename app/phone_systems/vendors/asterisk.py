"""Asterisk and what is built on it openly, such as FreePBX.

Asterisk has no CDR backend that speaks HTTP: a hangup handler posts the fields of ``CDR(...)`` with ``CURL()``, as a
form or as a JSON object (https://docs.asterisk.org, "CDR" among the dialplan functions). Values are text as the
dialplan shows it: times are local and without a zone, an empty ``answer`` means that nobody answered.

A forwarder that listens to the manager interface (AMI) may deliver the fields of its event ``Cdr`` under the names that
they have there (``UniqueID``, ``StartTime`` …), and several records at once, as a JSON array.

What tells records apart: a channel can have several (a call that is forked or transferred), all with its ``uniqueid``.
So it takes ``uniqueid``, ``start``, ``channel`` and ``dstchannel`` together; ``linkedid`` ties the legs of a call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from app.phone_systems.vendors import authentication
from app.phone_systems.vendors.asterisk_records import asterisk_record
from app.phone_systems.vendors.described import ASTERISK_FIELDS, ASTERISK_RECORD, Body, several
from app.phone_systems.vendors.records import FORM, JSON, CallRecord, decode, read_each
from app.phone_systems.vendors.set_up import PASSWORD_HERE, Entry, SetUp, Step

LABEL: Final = "Asterisk / FreePBX"
AUTHENTICATION: Final = authentication.BASIC
EXAMPLE: Final = {
    "src": "+442071234567",
    "dst": "100",
    "clid": '"Ada Lovelace" <+442071234567>',
    "channel": "PJSIP/trunk-00000001",
    "dstchannel": "PJSIP/100-00000002",
    "lastapp": "Dial",
    "start": "2026-11-20 18:32:10",
    "answer": "2026-11-20 18:32:12",
    "end": "2026-11-20 18:33:10",
    "duration": "60",
    "billsec": "58",
    "disposition": "ANSWERED",
    "uniqueid": "1795199530.7",
    "linkedid": "1795199530.7",
}
BODIES: Final = {
    FORM: Body(ASTERISK_RECORD, EXAMPLE),
    JSON: Body({"anyOf": [ASTERISK_RECORD, several(ASTERISK_RECORD)]}, EXAMPLE),
}
CONTENT_TYPES: Final = frozenset(BODIES)
FIELDS: Final = frozenset(ASTERISK_FIELDS)
IDENTITY: Final = ("uniqueid", "start", "channel", "dstchannel")


def parse(content_type: str, body: bytes, time_zone: ZoneInfo) -> list[CallRecord]:
    """The record of a delivery, or the records of an array. Raises :class:`~records.UnreadableDelivery`."""

    def read(fields: Mapping[str, Any]) -> CallRecord:
        return asterisk_record(_as_cdr(fields), time_zone, identity=IDENTITY, linked_by="linkedid")

    return read_each(decode(content_type, body), read)


_OF_AMI: Final = {
    "AccountCode": "accountcode",
    "Source": "src",
    "Destination": "dst",
    "DestinationContext": "dcontext",
    "CallerID": "clid",
    "Channel": "channel",
    "DestinationChannel": "dstchannel",
    "LastApplication": "lastapp",
    "LastData": "lastdata",
    "StartTime": "start",
    "AnswerTime": "answer",
    "EndTime": "end",
    "Duration": "duration",
    "BillableSeconds": "billsec",
    "Disposition": "disposition",
    "AMAFlags": "amaflags",
    "UniqueID": "uniqueid",
    "UserField": "userfield",
    "LinkedID": "linkedid",  # only where cdr_manager.conf maps it
}
_ENVELOPE: Final = frozenset({"Event", "Privilege"})


def _as_cdr(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields under the names of ``CDR(...)``, whichever of both they have."""
    if "UniqueID" not in fields or any(name in fields for name in _OF_AMI.values()):
        return fields
    return {_OF_AMI.get(name, name): value for name, value in fields.items() if name not in _ENVELOPE}


def set_up(url: str, username: str, password: str = PASSWORD_HERE) -> SetUp:
    """How to make it deliver to ``url`` with these credentials.

    The caller's channel gets a hangup handler, once, which posts the channel's record as a form.
    """
    lines = _DIALPLAN.format(url=url, username=_literal(username), password=_literal(password))
    return SetUp(
        (
            Step(
                "Add this to the end of extensions.conf, or on FreePBX of extensions_custom.conf "
                "(Admin, Config Edit). Asterisk needs its module func_curl for it, which most packages bring along.",
                code=lines,
            ),
            Step(
                "On FreePBX: under Settings, Advanced Settings, add this to the end of both fields. Submit, and apply "
                "the configuration.",
                entries=(
                    Entry("Asterisk Dial Options", "B(audiapro^attach^1)"),
                    Entry("Asterisk Outbound Trunk Dial Options", "B(audiapro^attach^1)"),
                ),
            ),
            Step(
                "On Asterisk without FreePBX: make this the first step of every extension at which calls begin.",
                code="same => n,Gosub(audiapro,attach,1)",
            ),
            Step("Load the new dialplan, on the Asterisk server.", code='asterisk -rx "dialplan reload"'),
            Step("Make a call, and hang up."),
        ),
        "If no record comes: does the Asterisk server reach the webhook URL, and does it list its module when you "
        "enter module show like func_curl in its console?",
    )


_DIALPLAN: Final = """\
[audiapro]
exten => attach,1,ExecIf($["${{AUDIAPRO}}" = ""]?Set(CHANNEL(hangup_handler_push)=audiapro,report,1))
 same => n,Set(AUDIAPRO=attached)
 same => n,Return()

exten => report,1,Set(CURLOPT(userpwd)={username}:{password})
 same => n,Set(CURLOPT(conntimeout)=3)
 same => n,Set(CURLOPT(httptimeout)=10)
 same => n,Set(RECORD=uniqueid=${{URIENCODE(${{CDR(uniqueid)}})}}&linkedid=${{URIENCODE(${{CHANNEL(linkedid)}})}})
 same => n,Set(RECORD=${{RECORD}}&src=${{URIENCODE(${{CDR(src)}})}}&dst=${{URIENCODE(${{CDR(dst)}})}})
 same => n,Set(RECORD=${{RECORD}}&clid=${{URIENCODE(${{CDR(clid)}})}}&dcontext=${{URIENCODE(${{CDR(dcontext)}})}})
 same => n,Set(RECORD=${{RECORD}}&channel=${{URIENCODE(${{CDR(channel)}})}})
 same => n,Set(RECORD=${{RECORD}}&dstchannel=${{URIENCODE(${{CDR(dstchannel)}})}}&lastapp=${{CDR(lastapp)}})
 same => n,Set(RECORD=${{RECORD}}&start=${{URIENCODE(${{CDR(start)}})}}&answer=${{URIENCODE(${{CDR(answer)}})}})
 same => n,Set(RECORD=${{RECORD}}&end=${{URIENCODE(${{CDR(end)}})}}&duration=${{CDR(duration)}})
 same => n,Set(RECORD=${{RECORD}}&billsec=${{CDR(billsec)}}&disposition=${{URIENCODE(${{CDR(disposition)}})}})
 same => n,Set(DELIVERED=${{CURL({url},${{RECORD}})}})
 same => n,Return()
"""
_PLAIN: Final = re.compile(r"[A-Za-z0-9._@-]+")


def _literal(text: str) -> str:
    """``text`` as the dialplan reads it: some characters mean something there, and cannot all be escaped."""
    return text if _PLAIN.fullmatch(text) else f"${{URIDECODE({quote(text, safe='')})}}"
