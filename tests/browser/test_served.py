"""The server that a browser test has: its mail, and its cast."""

import requests
from playwright.sync_api import Page

from tests.browser.served import Served
from tests.conftest import PASSWORD, Person


def test_each_mail_is_given_out_once(server: Served) -> None:
    def sign_up(address: str) -> None:
        body = {"email": address, "tenant_name": "New Ltd", "subdomain": "new"}
        assert requests.post(f"{server.url}/api/signup", json=body, timeout=10).status_code == 202

    sign_up("one@new.example")
    sign_up("two@new.example")
    mails = [server.next_mail(address) for address in ("two@new.example", "one@new.example")]
    sign_up("one@new.example")
    mails.append(server.next_mail("one@new.example"))
    assert [mail.to for mail in mails] == ["two@new.example", "one@new.example", "one@new.example"]
    assert len({mail.link for mail in mails}) == 3
    assert all(mail.link.startswith(f"{server.url}/sign-up/confirm#") for mail in mails)


def test_the_cast_of_the_other_tests_can_use_it(page: Page, alice: Person) -> None:
    answer = page.request.post("/api/login", data={"email": alice.email, "password": PASSWORD})
    who = page.request.get("/api/me", headers={"Authorization": f"Bearer {answer.json()['access_token']}"})
    assert who.json()["user"]["id"] == str(alice.user_id)
