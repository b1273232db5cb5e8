"""What is going on, at a glance."""


def test_first(alice_visits, bob_visits):
    page = alice_visits.open("/overview")
    print(page.text)
    print(bob_visits.open("/overview").text)
