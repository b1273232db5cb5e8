import pytest

URL = "/api/payment-accounts"


@pytest.fixture
def created(alice):
    body = {"provider": "paypal", "mode": "sandbox", "client_id": "AbC", "client_secret": "hunter2"}
    return alice.client.post(URL, json=body).json


def change(person, created, **changes):
    answer = person.client.patch(f"{URL}/{created['id']}", json=changes)
    assert answer.status_code == 200, answer.json
    return answer.json


def test_a_sandbox_secret_is_not_sent_to_the_live_service(alice, created):
    changed = change(alice, created, mode="live")
    assert (changed["mode"], changed["client_secret_set"]) == ("live", False)
    assert [notice["field"] for notice in changed["notices"]] == ["client_secret"]


def test_changing_the_mode_with_the_secret_stores_both(alice, created):
    changed = change(alice, created, mode="live", client_secret="hunter3")
    assert (changed["mode"], changed["client_secret_set"], changed["notices"]) == ("live", True, [])


def test_naming_the_mode_and_provider_again_keeps_the_secret(alice, created):
    changed = change(alice, created, mode="sandbox", provider="paypal")
    assert (changed["client_secret_set"], changed["notices"]) == (True, [])


@pytest.mark.parametrize("body", [{"provider": "stripe"}, {"mode": "test"}, {"mode": None}, {"client_id": "a\0b"}])
def test_only_what_is_known_is_accepted(alice, body):
    assert alice.client.post(URL, json={"provider": "paypal", "mode": "live"} | body).status_code == 422
