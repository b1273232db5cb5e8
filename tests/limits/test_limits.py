"""What is counted over HTTP: by address, and by tenant."""

import threading
import time
from dataclasses import replace

import pytest
from limits import parse
from sqlalchemy import event

from app.errors import TooManyRequests
from app.extensions import db
from app.identity import throttle
from app.limits.counting import NOWHERE, limited, network_of
from app.limits.limit import Limit, default_rates
from app.startup import check_start
from tests.calls.conftest import make_hook
from tests.conftest import in_database, running, signed_in
from tests.servers import TcpProxy
from tests.test_config import only_problem

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def set_rate(app, limit, text):
    app.extensions["rates"] |= {limit: parse(text)}


def set_budget(app, units):
    app.extensions["tenant_budget"] = parse(f"{units} per minute")


def assert_refused(answer, detail="Too many requests: wait before trying again."):
    assert (answer.status_code, answer.json["detail"]) == (429, detail)
    assert 0 < int(answer.headers["Retry-After"]) <= 60


@sqlite_only
def test_every_request_to_the_api_counts_for_its_address(app, client, alice):
    set_rate(app, Limit.API, "4 per minute")
    here = {"environ_base": {"REMOTE_ADDR": "192.0.2.9"}}
    answers = [client.get(path, **here).status_code for path in ("/api/me", "/api/nowhere", "/api/login", "/api/me")]
    assert answers == [401, 404, 405, 401]
    statements = []
    with in_database(app):
        event.listen(db.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    assert_refused(alice.client.get("/api/me", **here))  # recorded in the audit trail, once
    statements.clear()
    for path in ("/api/me", "/api/nowhere"):
        assert_refused(alice.client.get(path, **here))
    assert statements == [], "a flood does not reach the database"
    assert client.get("/healthz", **here).status_code == 200
    assert alice.client.get("/api/me", environ_base={"REMOTE_ADDR": "192.0.2.10"}).status_code == 200


@sqlite_only
def test_addresses_of_one_ipv6_network_count_together(app, client):
    set_rate(app, Limit.API, "3 per minute")
    tried = ["2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", "2001:0db8:0:0:abcd::", "2001:db8::2", "2001:db8:0:1::1"]
    answers = [client.get("/api/me", environ_base={"REMOTE_ADDR": address}).status_code for address in tried]
    assert answers == [401, 401, 401, 429, 401]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", NOWHERE),
        ("192.0.2.1:443", NOWHERE),
        ("", NOWHERE),
        (None, NOWHERE),
    ],
)
def test_who_is_counted_as_one(address, network):
    assert network_of(address) == network


NO_RATES = ["10", "often", "0 per minute", "-1 per minute", "1.5 per minute", "10 per", "10 per year", "10/minute"]
NO_RATES += ["10 per minute; 5 per hour", "10 per 0 minutes", "10 per minute extra", "9999999999 per minute"]


@pytest.mark.parametrize("rate", NO_RATES)
def test_a_rate_that_is_none_is_refused(rate):
    problem = only_problem(RATELIMIT_SIGN_IN=rate)
    assert problem == "RATELIMIT_SIGN_IN must be a number per second, minute, hour or day, such as 10 per minute."


@sqlite_only
def test_what_is_configured_is_what_is_kept(settings):
    rates = default_rates() | {Limit.SIGN_IN: parse("2 per minute")}
    with running(replace(settings, rates=rates, tenant_budget=7)) as app:
        app.extensions["encryption"].checked = True
        tries = [app.test_client().post("/api/login", json={}) for _ in range(3)]
        assert [answer.status_code for answer in tries] == [422, 422, 429], "what is not valid counts too"
        assert app.extensions["tenant_budget"].amount == 7


@sqlite_only
def test_a_tenants_requests_cost_its_budget_and_no_other_ones(app, alice, bob, charlie):
    set_budget(app, 50)
    over = "Your organisation has used up what its requests may cost in a minute: wait before trying again."
    assert alice.client.get("/api/phone-systems").status_code == 200  # 20
    assert bob.client.get("/api/calls").status_code == 200  # 20
    assert alice.client.get("/api/me").status_code == 200  # 10
    for refused in (alice.client.get("/api/me"), bob.client.get("/api/calls")):
        assert_refused(refused, over)
    assert charlie.client.get("/api/calls").status_code == 200
    assert bob.client.post("/api/logout").status_code == 204, "signing out is always possible"
    assert alice.client.delete("/api/sessions").status_code == 204


@sqlite_only
def test_deliveries_cost_their_tenants_budget_and_refused_ones_nobodys(app, alice, charlie):
    hook = make_hook(app, alice)
    set_budget(app, 20)
    assert {hook.deliver(credentials=("wrong", "wrong")).status_code for _ in range(5)} == {401}
    assert [hook.deliver().status_code for _ in range(3)] == [201, 200, 429]
    assert alice.client.get("/api/calls").status_code == 200, "they take nothing from people and programs"
    assert make_hook(app, charlie).deliver().status_code == 201


@sqlite_only
def test_whoever_is_not_signed_in_any_more_spends_nothing(app, alice, bob):
    set_budget(app, 40)
    alice.client.delete("/api/sessions")
    assert {alice.client.get("/api/calls").status_code for _ in range(5)} == {401}
    assert bob.client.get("/api/calls").status_code == 200


@sqlite_only
def test_parallel_requests_are_counted_one_by_one(app, alice):
    set_budget(app, 100)
    barrier, statuses = threading.Barrier(20), []

    def ask():
        client = signed_in(app, alice.subject)
        barrier.wait()
        statuses.append(client.get("/api/me").status_code)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 10 + [429] * 10


@sqlite_only
def test_a_recipient_gets_few_mails_of_a_kind(app):
    def write(path, email):
        with app.test_request_context(path):
            throttle.count_mail(email)

    for _ in range(3):
        write("/api/login", "alice@acme.example")
    with pytest.raises(TooManyRequests):
        write("/api/login", "alice@acme.example")
    write("/api/login", "bob@acme.example")
    write("/api/me", "alice@acme.example")  # another kind
    assert "alice" not in str(vars(app.extensions["rate_limiter"].storage))


@sqlite_only
def test_a_limited_view_counts_by_address(app):
    view = limited(Limit.ACCOUNT_MAIL)(lambda: "sent")
    set_rate(app, Limit.ACCOUNT_MAIL, "1 per hour")
    with app.test_request_context(environ_base={"REMOTE_ADDR": "192.0.2.1"}):
        assert view() == "sent"
        with pytest.raises(TooManyRequests) as refused:
            view()
    assert 0 < int(refused.value.headers["Retry-After"]) <= 3600
    with app.test_request_context(environ_base={"REMOTE_ADDR": "192.0.2.2"}):
        assert view() == "sent"


@sqlite_only
def test_processes_count_together_in_redis(app, settings, alice, redis_url):
    """Each start of the application is a process of its own as far as the counting is concerned."""
    tries = []
    for _ in range(3):
        with running(replace(settings, redis_url=redis_url, tenant_budget=20)) as process:
            process.extensions["encryption"].checked = True
            tries.append(signed_in(process, alice.subject).get("/api/me").status_code)
    assert tries == [200, 200, 429]


@sqlite_only
def test_the_start_warns_where_processes_count_each_by_itself(app, settings):
    def warnings(**changes):
        with app.app_context():
            return [line for line in check_start(app, replace(settings, **changes)) if "count requests" in line]

    assert warnings(web_concurrency=3) == [
        "warning: 3 processes count requests each by itself, so limits are 3 times as wide: set REDIS_URL"
    ]
    assert warnings(web_concurrency=1) == warnings(web_concurrency=3, redis_url="redis://cache") == []


@sqlite_only
def test_nothing_is_served_that_cannot_be_counted(app, settings, alice, redis_url):
    hook = make_hook(app, alice)
    with TcpProxy(redis_url) as proxy, running(replace(settings, redis_url=proxy.url)) as process:
        process.extensions["encryption"].checked = True
        client = signed_in(process, alice.subject)
        proxy.refuse()
        proxy.cut()
        begin = time.monotonic()
        answers = [client.get("/api/me"), client.get("/api/nowhere"), replace(hook, app=process).deliver()]
        assert time.monotonic() - begin < 5
        for answer in answers:
            assert (answer.status_code, answer.json["detail"]) == (
                503,
                "The service cannot count requests at the moment.",
            )
            assert answer.headers["Retry-After"]
        assert client.get("/healthz").status_code == 200
        proxy.accept()
        assert client.get("/api/me").status_code == 200


@sqlite_only
def test_every_limited_operation_says_so_and_what_it_costs(client):
    for path, methods in client.get("/openapi.json").json["paths"].items():
        for method, operation in methods.items():
            if path.startswith(("/api/", "/hooks/")):
                assert "Retry-After" in operation["responses"]["429"]["headers"], (method, path)
    paths = client.get("/openapi.json").json["paths"]
    assert (paths["/api/calls"]["get"]["x-cost"], paths["/api/me"]["get"]["x-cost"]) == (20, 10)
    assert "x-cost" not in paths["/api/login"]["post"]
