"""Every page of the dashboard, as somebody sees it who has much to look at: telephone and desk, light and dark."""

import re
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from app.api_keys import service as api_keys
from app.calls.models import Call
from app.credentials.models import ApiCredential
from app.database import now
from app.demonstration import OWNER, create_demonstration
from app.extensions import db
from app.identity.models import Membership, Role, User
from app.payments.models import PaymentAccount
from app.phone_systems import unreadable
from app.phone_systems.models import PhoneSystem, UnreadableDelivery
from app.phone_systems.service import phone_systems
from app.phone_systems.unreadable import Delivered
from app.tenancy import tenant_scope
from app.tenants import invitations
from tests.browser.looks import check_axe, in_every_look, screenshot
from tests.conftest import PASSWORD, in_database
from tests.test_access import EVERYBODY, PAGES

# Parts of pages, and what is no page at all.
NO_PAGES = {"/calls/export.csv", "/encryption/now", "/phone-systems/<uuid:id>/arrivals"}
# With something chosen; where there is nothing; where something is wrong.
FURTHER = ["/overview?days=30", "/calls?disposition=busy", "/calls?disposition=x", "/audit?outcome=refused", "/nowhere"]
STATUS = {"/nowhere": 404, "/calls?disposition=x": 422}
GROUPS = [
    "calls",
    "phone-systems",
    "payment-accounts",
    "api-credentials",
    "organisation",
    "team",
    "api-keys",
    "account",
]

RULES = {route.removeprefix("GET ") for route in PAGES if route.startswith("GET ")} - NO_PAGES
OF_STRANGERS = sorted(rule for rule in RULES if PAGES[f"GET {rule}"] is EVERYBODY)
OF_OWNERS = sorted(RULES - set(OF_STRANGERS)) + FURTHER


def group_of(rule):
    """The pages below one address are looked at by one test, those by themselves by the first."""
    first = re.split(r"[/?]", rule)[1]
    return first if first in GROUPS else GROUPS[0]


@pytest.fixture
def world(app):
    """A demonstration with something on every page: its owner's password, and one id of each kind."""
    with in_database(app):
        made = create_demonstration(db.session(), now())
        owner = db.session.query(Membership).one()
        tenant_id = owner.tenant_id
        colleague = Membership(
            user=User(email="grace@demo.example", password_hash="x"), tenant_id=tenant_id, role=Role.MEMBER
        )
        account = PaymentAccount(tenant_id=tenant_id, provider="paypal", mode="sandbox", client_secret="hunter2")
        credential = ApiCredential(
            tenant_id=tenant_id, name="Maps", provider="acme", secret="hunter2", expires_at=now() + timedelta(days=10)
        )
        db.session.add_all([colleague, account, credential])
        db.session.commit()
        phone_system = db.session.query(PhoneSystem).one()
        with tenant_scope(tenant_id):
            phone_systems.rotate_webhook_password(
                db.session(), tenant_id, phone_system.id, password=None, keep_previous=timedelta(days=1)
            )
            invitation = invitations.create(db.session(), owner, "dora@demo.example", Role.ADMIN)
            key, _ = api_keys.create(
                db.session(), tenant_id, name="Wallboard", role=Role.MEMBER, expires_at=None, created_by=OWNER
            )
            delivered = Delivered(
                "text/html", b"<b>Ada</b>\x00\xff" * 2000, 20_000, "it is of another content type", []
            )
            unreadable.keep(db.session(), tenant_id, phone_system.id, delivered)
        call = db.session.query(Call).filter(Call.caller_name.is_not(None)).first()
        rows = {
            "calls": call,
            "phone-systems": phone_system,
            "unreadable-deliveries": db.session.query(UnreadableDelivery).one(),
            "payment-accounts": account,
            "api-credentials": credential,
            "members": colleague,
            "invitations": invitation,
            "api-keys": key,
        }
        return {noun: str(row.id) for noun, row in rows.items()} | {"password": made.owner_password}


def sign_in(page, email, password):
    page.goto("/sign-in")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_attached()


def look_at(page, address, name):
    answer = page.goto(address)
    assert answer.status == STATUS.get(address, 200), address
    look_well(page, name)


def look_well(page, name):
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    name = re.sub(r"\W+", "-", name).strip("-")
    for look in in_every_look(page):
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is too wide, {look}"
        check_axe(page)
        screenshot(page, f"{name}-{look}")


def test_pages_of_strangers_look_well(page):
    for address in OF_STRANGERS:
        look_at(page, address, address)


@pytest.mark.parametrize("group", GROUPS)
def test_pages_of_owners_look_well(page, world, group):
    sign_in(page, OWNER, world["password"])
    for rule in (rule for rule in OF_OWNERS if group_of(rule) == group):
        look_at(page, re.sub(r"([a-z-]+)/<uuid:\w+>", lambda found: f"{found[1]}/{world[found[1]]}", rule), rule)


def test_pages_without_anything_to_show_look_well(page, alice):
    sign_in(page, alice.email, PASSWORD)
    for address in ("/overview", "/calls", "/phone-systems", "/payment-accounts", "/api-credentials", "/api-keys"):
        look_at(page, address, f"empty{address}")


def test_what_members_see_looks_well(page, alice, bob):
    sign_in(page, bob.email, PASSWORD)
    for address, status in (("/overview", 200), ("/team", 403)):
        assert page.goto(address).status == status
        look_well(page, f"member{address}")


def test_forms_that_are_not_right_and_steps_look_well(page, app, alice):
    sign_in(page, alice.email, PASSWORD)
    page.goto("/phone-systems/new")
    page.get_by_role("main").get_by_role("button").last.click()
    expect(page.locator("[aria-invalid=true]").first).to_be_focused()
    look_well(page, "form-with-errors")
    with in_database(app):
        db.session.execute(db.text("UPDATE sessions SET authenticated_at = NULL"))
        db.session.commit()
    page.goto("/api-keys/new")
    expect(page.get_by_role("heading", level=1)).to_have_text("Is it you?")
    look_well(page, "step-proof")


def test_the_menu_of_a_telephone_can_be_used_by_keyboard(page, world):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/sign-in")
    expect(page.get_by_label("E-mail address")).to_be_focused()  # which may come after the page is loaded
    page.keyboard.type(OWNER)
    page.keyboard.press("Tab")
    page.keyboard.type(world["password"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    calls = page.get_by_role("link", name="Calls", exact=True)
    expect(calls).to_be_hidden()
    page.get_by_role("button", name="Menu").focus()
    page.keyboard.press("Enter")
    expect(calls).to_be_visible()
    page.keyboard.press("Escape")
    expect(calls).to_be_hidden()


def test_what_is_copied_is_what_is_shown(page, world):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    sign_in(page, OWNER, world["password"])
    page.goto(f"/phone-systems/{world['phone-systems']}")
    page.get_by_role("button", name="Copy the webhook URL").click()
    expect(page.get_by_role("button", name="Copy the webhook URL")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#webhook-url").inner_text()


def test_on_a_telephone_every_cell_of_a_list_is_on_the_screen_below_its_title(page, world):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/sign-in?next=/team")
    page.get_by_label("E-mail address").fill(OWNER)
    page.get_by_label("Password").fill(world["password"])
    page.get_by_role("button", name="Sign in").click()
    button = page.get_by_role("link", name="Change grace@demo.example").bounding_box()
    assert button["x"] + button["width"] <= 390
    title = "getComputedStyle(document.querySelector('td:nth-child(2)'), '::before').content"
    assert page.evaluate(title) == '"Role"'
    for address in ("/phone-systems", "/payment-accounts", "/api-credentials", "/audit", "/account", "/encryption"):
        page.goto(address)
        too_wide = "[...document.querySelectorAll('.stacks')].filter((one) => one.scrollWidth > one.clientWidth).length"
        assert page.evaluate(too_wide) == 0, address
