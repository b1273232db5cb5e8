"""Every page of the dashboard, as somebody sees it who has much to look at: telephone and desk, light and dark."""

import re
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from app.calls.models import Call
from app.credentials.models import ApiCredential
from app.database import now
from app.demonstration import OWNER, create_demonstration
from app.extensions import db
from app.identity.models import Membership, Role, User
from app.payments.models import PaymentAccount
from app.phone_systems.models import PhoneSystem
from tests.browser.looks import check_axe, in_every_look, screenshot
from tests.conftest import in_database

STRANGERS = ["/sign-in", "/sign-up", "/sign-up/confirm", "/forgot-password", "/reset-password", "/accept-invitation"]
PAGES = {
    "calls": ["/overview", "/overview?days=30", "/calls", "/calls?disposition=busy", "/calls/CALL", "/nowhere"],
    "connections": [
        "/phone-systems",
        "/phone-systems/new",
        "/phone-systems/PHONE_SYSTEM",
        "/phone-systems/PHONE_SYSTEM/edit",
        "/phone-systems/PHONE_SYSTEM/webhook-password",
        "/phone-systems/PHONE_SYSTEM/delete",
        "/payment-accounts",
        "/payment-accounts/new",
        "/payment-accounts/PAYMENT_ACCOUNT",
        "/api-credentials",
        "/api-credentials/API_CREDENTIAL",
        "/api-credentials/API_CREDENTIAL/edit",
    ],
    "organisation": [
        "/team",
        "/team/invite",
        "/team/members/MEMBER",
        "/team/members/MEMBER/remove",
        "/api-keys",
        "/api-keys/new",
        "/audit",
        "/encryption",
    ],
    "account": [
        "/account",
        "/account/email",
        "/account/password",
        "/account/second-factor",
        "/account/leave",
        "/tenants",
    ],
}


@pytest.fixture
def ids(app):
    """A demonstration with something on every page; the ids that addresses have."""
    with in_database(app):
        made = create_demonstration(db.session(), now())
        phone_system = db.session.query(PhoneSystem).one()
        tenant_id = phone_system.tenant_id
        colleague = Membership(
            user=User(email="grace@demo.example", password_hash="x"), tenant_id=tenant_id, role=Role.MEMBER
        )
        account = PaymentAccount(tenant_id=tenant_id, provider="paypal", mode="sandbox", client_secret="hunter2")
        soon = now() + timedelta(days=10)
        credential = ApiCredential(tenant_id=tenant_id, name="Maps", provider="acme", secret="hunter2", expires_at=soon)
        db.session.add_all([colleague, account, credential])
        db.session.commit()
        call = db.session.query(Call).filter(Call.caller_name.is_not(None)).first()
        return {
            "OWNERS_PASSWORD": made.owner_password,
            "CALL": call.id,
            "PHONE_SYSTEM": phone_system.id,
            "PAYMENT_ACCOUNT": account.id,
            "API_CREDENTIAL": credential.id,
            "MEMBER": colleague.id,
        }


def look_at(page, address, ids):
    name = re.sub(r"\W+", "-", address.strip("/")).lower()
    for part, value in ids.items():
        address = address.replace(part, str(value))
    answer = page.goto(address)
    assert answer.status == (404 if address == "/nowhere" else 200), address
    for look in in_every_look(page):
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{address} is too wide, {look}"
        check_axe(page)
        screenshot(page, f"{name}-{look}")


def test_pages_of_strangers_look_well(page):
    for address in STRANGERS:
        look_at(page, address, {})


@pytest.mark.parametrize("group", PAGES)
def test_pages_of_owners_look_well(page, ids, group):
    page.goto("/sign-in")
    page.get_by_label("E-mail address").fill(OWNER)
    page.get_by_label("Password").fill(ids["OWNERS_PASSWORD"])
    page.get_by_role("button", name="Sign in").click()
    for address in PAGES[group]:
        look_at(page, address, ids)


def test_the_menu_of_a_telephone_can_be_used_by_keyboard(page, ids):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/sign-in")
    page.keyboard.type(OWNER)
    page.keyboard.press("Tab")
    page.keyboard.type(ids["OWNERS_PASSWORD"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    expect(page.get_by_role("link", name="Calls", exact=True)).to_be_hidden()
    page.get_by_role("button", name="Menu").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Calls", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Calls", exact=True)).to_be_hidden()


def test_what_is_copied_is_what_is_shown(page, ids, browser):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/sign-in?next=/phone-systems")
    page.get_by_label("E-mail address").fill(OWNER)
    page.get_by_label("Password").fill(ids["OWNERS_PASSWORD"])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Demonstration Asterisk").click()
    page.get_by_role("button", name="Copy the webhook URL").click()
    expect(page.get_by_role("button", name="Copy the webhook URL")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#webhook-url").inner_text()


def test_on_a_telephone_every_cell_of_a_list_is_on_the_screen_below_its_title(page, ids):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/sign-in?next=/team")
    page.get_by_label("E-mail address").fill(OWNER)
    page.get_by_label("Password").fill(ids["OWNERS_PASSWORD"])
    page.get_by_role("button", name="Sign in").click()
    button = page.get_by_role("link", name="Change grace@demo.example").bounding_box()
    assert button["x"] + button["width"] <= 390
    title = "getComputedStyle(document.querySelector('td:nth-child(2)'), '::before').content"
    assert page.evaluate(title) == '"Role"'
    for address in ("/phone-systems", "/payment-accounts", "/api-credentials", "/audit", "/account", "/encryption"):
        page.goto(address)
        too_wide = "[...document.querySelectorAll('.stacks')].filter((one) => one.scrollWidth > one.clientWidth).length"
        assert page.evaluate(too_wide) == 0, address
