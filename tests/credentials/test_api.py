import pytest

URL = "/api/api-credentials"
MINIMAL = {"name": "Maps", "provider": "acme"}


def test_a_secret_is_not_sent_to_another_provider(alice):
    created = alice.client.post(URL, json=MINIMAL | {"secret": "hunter2"}).json
    changed = alice.client.patch(f"{URL}/{created['id']}", json={"provider": "other"}).json
    assert (changed["provider"], changed["secret_set"]) == ("other", False)
    assert [notice["field"] for notice in changed["notices"]] == ["secret"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("2030-01-31T12:00:00Z", "2030-01-31T12:00:00Z"),
        ("2030-01-31t12:00:00.5z", "2030-01-31T12:00:00.500000Z"),
        ("2030-01-31 12:00:00+01:00", "2030-01-31T11:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        (None, None),
    ],
)
def test_the_end_of_its_life_is_a_time_in_utc(alice, given, shown):
    created = alice.client.post(URL, json=MINIMAL | {"expires_at": given})
    assert created.status_code == 201
    assert created.json["expires_at"] == shown
    assert alice.client.get(created.headers["Location"]).json["expires_at"] == shown


NO_TIMES = [
    "",
    "2030-01-31",
    "2030-01-31T12:00:00",
    "2030-01-31T12:00Z",
    "2030-02-30T12:00:00Z",
    "2030-01-31T25:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "1900000000",
    1900000000,
    True,
    "２０３０-01-31T12:00:00Z",  # noqa: RUF001
]


def test_what_is_no_time_with_an_offset_is_refused(alice):
    for time in NO_TIMES:
        assert alice.client.post(URL, json=MINIMAL | {"expires_at": time}).status_code == 422, time
