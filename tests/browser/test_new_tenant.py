"""The whole way of a new tenant, as its owner walks it in a browser: from signing up to signing out."""

import re

import pyotp
import requests
from playwright.sync_api import expect

from app.database import now
from tests.browser.looks import screenshot

OWNER, COLLEAGUE = "ada@newcomer.example", "grace@newcomer.example"
PASSWORD = "a few words that nobody guesses"
CALLER = "+442071234567"


def test_a_newcomer_signs_up_connects_a_phone_system_sees_the_first_record_and_signs_out(page, server):
    sign_up(page, server)
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    expect(page.get_by_text("Welcome to AudiaPro")).to_be_visible()
    screenshot(page, "way-1-first-steps")

    url, username, password = connect_a_phone_system(page)
    screenshot(page, "way-2-webhook-password")
    expect(page.get_by_text("Waiting for a call record")).to_be_visible()
    deliver(server, url, username, password)
    expect(page.get_by_text("A call record has come")).to_be_visible()
    screenshot(page, "way-3-first-record")
    assert password in page.content()
    page.get_by_role("link", name="I have stored the password").click()
    assert password not in page.content()

    rotate_while_calls_arrive(page, server, url, username, password)

    page.get_by_role("link", name="Overview", exact=True).click()
    expect(page.locator(".tile").first).to_contain_text(re.compile(r"\d"))
    screenshot(page, "way-4-overview")
    page.get_by_role("link", name="Calls", exact=True).click()
    expect(page.get_by_text(CALLER).first).to_be_visible()

    turn_on_a_second_factor(page)
    invite_a_colleague(page, server)

    page.get_by_role("link", name="Audit trail").click()
    for told in ("added a phone system", "turned a second factor on", "invited somebody", "signed in"):
        expect(page.locator("td", has_text=told).first).to_be_visible()
    screenshot(page, "way-5-audit")

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def sign_up(page, server):
    page.goto("/")
    page.get_by_role("link", name="Create an account").click()
    page.get_by_label("Name of your organisation").fill("Newcomer & Sons")
    page.get_by_label("Short name").fill("newcomer")
    page.get_by_label("Your e-mail address").fill(OWNER)
    page.get_by_role("button").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("mail")
    page.goto(server.next_mail(OWNER).link)
    expect(page.get_by_role("heading", level=1)).to_have_text("Create Newcomer & Sons")
    assert "#" not in page.url, "the token has left the address"
    page.get_by_label("Choose a password").fill(PASSWORD)
    page.get_by_role("button", name="Create the account").click()


def connect_a_phone_system(page):
    """The webhook URL, the user name and the password that were shown."""
    page.get_by_role("link", name="Connect a phone system").click()
    page.get_by_label("Name", exact=True).fill("Head office")
    page.get_by_label("Kind").select_option("asterisk")
    page.get_by_role("button", name=re.compile("Add|Create|Save")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Head office was added")
    password = page.locator("#webhook-password").inner_text()
    url = re.search(r"https?://[^/\s]+/hooks/[\w/-]+", page.locator("main").inner_text())
    assert url is not None
    return url[0], "pbx", password


def deliver(server, url, username, password, uniqueid="1"):
    """As an Asterisk does, of a call that has just ended."""
    moment = now().strftime("%Y-%m-%d %H:%M:%S")
    times = {"start": moment, "answer": moment, "end": moment, "duration": "0", "billsec": "0"}
    record = {
        "src": CALLER,
        "dst": "100",
        "disposition": "ANSWERED",
        "uniqueid": uniqueid,
        "linkedid": uniqueid,
        **times,
    }
    answer = requests.post(
        f"{server.url}/hooks/{url.partition('/hooks/')[2]}", data=record, auth=(username, password), timeout=10
    )
    assert answer.status_code == 201, answer.text


def rotate_while_calls_arrive(page, server, url, username, old):
    page.get_by_role("link", name="Replace").first.click()
    page.get_by_role("button", name=re.compile("new password", re.IGNORECASE)).click()
    new = page.locator("#webhook-password").inner_text()
    assert new != old
    deliver(server, url, username, old, uniqueid="with-the-old-one")
    expect(page.get_by_text("It came with the old password")).to_be_visible()
    deliver(server, url, username, new, uniqueid="with-the-new-one")
    expect(page.get_by_text("The phone system uses the new password.")).to_be_visible()


def turn_on_a_second_factor(page):
    page.get_by_role("link", name="Your account").click()
    page.get_by_role("link", name="Add one").click()
    page.get_by_role("button", name="Show the QR code").click()
    secret = page.locator("#totp-secret").inner_text()
    page.get_by_label("Code").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="Switch it on").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your recovery codes")
    page.get_by_role("link", name="I have kept them").click()


def invite_a_colleague(page, server):
    page.get_by_role("link", name="Team", exact=True).click()
    page.get_by_role("link", name="Invite somebody").click()
    page.get_by_label("E-mail address").fill(COLLEAGUE)
    page.get_by_role("button", name="Send the invitation").click()
    expect(page.get_by_text(COLLEAGUE).first).to_be_visible()
    assert "invites you" in server.next_mail(COLLEAGUE).subject
