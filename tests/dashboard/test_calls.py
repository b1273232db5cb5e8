from tests.calls.conftest import hook


def test_first(app, alice_visits, bob_visits, hook):
    hook.deliver()
    for u in ("/calls", "/calls?from_date=2026-11-20&to_date=2026-11-20", "/overview?days=30"):
        page = bob_visits.open(u)
        print(page.text)
    page = bob_visits.open(
        "/calls?from_date=2026-11-45&disposition=x&phone_system_id=z&to_date=9999-12-31&endpoint=x&_scheme=javascript&_external=1",
        422,
    )
    print(page.errors())
    page = bob_visits.open("/calls")
    print(bob_visits.open(page.soup.select_one("td a")["href"]).text)
    print(bob_visits.client.get("/calls/export.csv").text)
    print(bob_visits.open("/calls?cursor=abc", 422).text)
