"""What people read."""

import dataclasses
import html
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from app.errors import Invalid
from app.mail import messages
from app.mail.messages import (
    ConfirmSignUp,
    EmailChanged,
    EmailChangeRequested,
    Invitation,
    Message,
    MessageWithLink,
    NewApiKey,
    NoAccount,
    PasswordChanged,
    ResetPassword,
    SecondFactorRemoved,
    VerifyEmail,
    render,
)

URL = "https://audiapro.example"
TOKEN = "one-time_token.~123"
MOMENT = datetime(2026, 11, 5, 17, 4, tzinfo=timezone(timedelta(hours=1)))
SHOWN = "5 November 2026, 16:04 UTC"
ADA = "ada@acme.example"

ALL = [
    (ConfirmSignUp(TOKEN, MOMENT), "Confirm that you want to use AudiaPro", [f"{URL}/sign-up/confirm#{TOKEN}"]),
    (VerifyEmail(TOKEN, MOMENT), "Confirm your e-mail address", [f"{URL}/verify-email#{TOKEN}"]),
    (
        Invitation(TOKEN, MOMENT, "Acme Ltd", ADA),
        "“Acme Ltd” invites you to AudiaPro",
        [f"{URL}/accept-invitation#{TOKEN}", "“Acme Ltd”", ADA],
    ),
    (ResetPassword(TOKEN, MOMENT), "Set a new password", [f"{URL}/reset-password#{TOKEN}"]),
    (NoAccount(MOMENT), "There is no account for your address", []),
    (EmailChangeRequested(ADA, MOMENT), "Somebody wants to change your e-mail address", [ADA]),
    (EmailChanged(MOMENT), "Your e-mail address was changed", []),
    (PasswordChanged(MOMENT), "Your password was changed", []),
    (SecondFactorRemoved(MOMENT), "Two-factor authentication was switched off", []),
    (
        NewApiKey("Acme Ltd", "Export", ADA, MOMENT),
        "A new API key for “Acme Ltd”",
        ["“Acme Ltd”", "“Export”", ADA],
    ),
]


def plain(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", markup))


def test_every_message_is_looked_at_here_and_has_both_templates():
    def leaves(kind):
        return {kind} if not kind.__subclasses__() else set().union(*map(leaves, kind.__subclasses__()))

    assert {type(message) for message, *_ in ALL} == leaves(Message)
    names = {path.name for path in (Path(messages.__file__).parent / "templates").iterdir()}
    kinds = {message.kind for message, *_ in ALL}
    assert names == {f"{name}.{form}" for name in kinds | {"layout"} for form in ("txt", "html")}


@pytest.mark.parametrize(("message", "subject", "parts"), ALL, ids=lambda value: getattr(value, "kind", ""))
def test_a_message_says_what_happened_when_and_what_to_do_if_that_was_not_you(message, subject, parts):
    rendered = render(message, URL)
    assert rendered["subject"] == subject
    for form in (rendered["text"], plain(rendered["html"])):
        assert SHOWN in form
        assert re.search(r"\bIf (you|nobody|that)\b", form)
        assert URL in form
        assert "{" not in form
    for part in parts:
        assert part in rendered["text"]
        assert part in html.unescape(rendered["html"])
    assert ("#" + TOKEN in rendered["text"]) == isinstance(message, MessageWithLink)
    if isinstance(message, MessageWithLink):
        assert re.findall(r'href="([^"]*)"', rendered["html"]) == [parts[0]]
        assert "works once" in rendered["text"]
        assert "works once" in rendered["html"]
    else:
        assert "href" not in rendered["html"]


@pytest.mark.parametrize(("message", "subject", "parts"), ALL, ids=lambda value: getattr(value, "kind", ""))
def test_the_html_is_complete_and_loads_nothing(message, subject, parts):
    markup = render(message, URL)["html"]
    opened = re.findall(r"<([a-z0-9]+)[ >]", markup)
    closed = re.findall(r"</([a-z0-9]+)>", markup)
    assert sorted(name for name in opened if name not in ("meta", "hr")) == sorted(closed)
    assert not re.search(r"<(img|script|link|iframe|style)|src=|url\(", markup)


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><a href="https://evil.example">', "&lt;b&gt; ' \" {{ 7*7 }}"]
)
def test_names_are_data_and_not_markup(name):
    for message in (Invitation(TOKEN, MOMENT, name, name), NewApiKey(name, name, name, MOMENT)):
        rendered = render(message, URL)
        assert name in rendered["subject"]
        assert f"“{name}”" in rendered["text"]
        assert "<script" not in rendered["html"]
        assert "evil.example" not in "".join(re.findall(r"<[^>]*>", rendered["html"]))
        assert f"“{name}”" in html.unescape(rendered["html"])


def test_a_name_in_braces_is_not_filled_in():
    assert render(NewApiKey("{made_by} {token}", "k", ADA, MOMENT), URL)["subject"] == (
        "A new API key for “{made_by} {token}”"
    )


def test_a_long_name_is_cut_and_cannot_turn_the_direction_of_what_follows():
    subject = render(NewApiKey("\u202egpj.exe\u2066" + "x" * 300, "k", ADA, MOMENT), URL)["subject"]
    assert len(subject) < 110
    assert "gpj.exe" in subject
    assert not {*"\u202e\u2066"} & {*subject}


@pytest.mark.parametrize(
    "field",
    [
        (kind, field.name)
        for kind in (Invitation, NewApiKey)
        for field in dataclasses.fields(kind)
        if field.type == "str" and field.name != "token"
    ],
)
def test_no_name_can_begin_another_line(field):
    kind, name = field
    message = next(message for message, *_ in ALL if isinstance(message, kind))
    for end in "\r\n\x00\x1b\u2028":
        with pytest.raises(Invalid):
            render(dataclasses.replace(message, **{name: f"a{end}Bcc: b"}), URL)


@pytest.mark.parametrize("token", ["", "a b", "a#b", "a/b", "a?b", 'a"b', "a%0a", "é", "a\n"])
def test_a_token_that_would_be_written_differently_in_a_url_is_a_mistake(token):
    with pytest.raises(ValueError, match="a token consists of"):
        ResetPassword(token, MOMENT)


def test_a_message_does_not_show_its_token():
    for message, *_ in ALL:
        assert TOKEN not in repr(message) + str(message)


def test_times_are_told_in_utc():
    assert "1 January 2027, 00:30 UTC" in render(PasswordChanged(datetime(2027, 1, 1, 0, 30, tzinfo=UTC)), URL)["text"]
