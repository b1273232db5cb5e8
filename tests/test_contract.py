"""Whatever schemathesis makes of the description of the API: no answer that the description does not have, no 5xx but
503, and nothing taken that does not fit it.

Always the same requests, so that a failure comes again. On one database: what is taken and refused does not depend on
it.
"""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from sqlalchemy import select

from app.extensions import db
from app.identity import sessions, tokens
from app.identity.models import Membership, UserSession
from tests.calls.conftest import basic, make_hook
from tests.conftest import in_database, wait_for_senders
from tests.test_conventions import PUBLIC_ROUTES

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

EXAMPLES = 8  # requests an operation and mode
HOOK = "POST /hooks/{subdomain}/{phone_system_id}/cdr"


class Contract:
    """The API's operations, what their paths need, and who may use them."""

    def __init__(self, app, alice) -> None:
        import schemathesis  # takes seconds, which not every worker should spend
        from schemathesis import checks

        checks.load_all_checks()
        self.modes = schemathesis.GenerationMode
        self.checks = [
            checks.CHECKS.get_one(name)
            for name in (
                "not_a_server_error",
                "status_code_conformance",
                "content_type_conformance",
                "response_headers_conformance",
                "response_schema_conformance",
            )
        ]
        self.refused = checks.CHECKS.get_one("negative_data_rejection")
        schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
        self.operations = {result.ok().label: result.ok() for result in schema.get_all_operations()}
        hook = make_hook(app, alice)
        _, _, subdomain, phone_system_id, _ = hook.path.split("/")
        self.hook = {"subdomain": subdomain, "phone_system_id": phone_system_id}
        self.app, self.alice = app, alice
        self.webhook_credentials = basic(hook.username, hook.password)
        members = alice.client.get("/api/members").json["items"]
        self.objects = {
            "/api/members/{id}": {"id": next(it["id"] for it in members if it["email"] != alice.email)},
            "/api/calls/{id}": {"id": hook.deliver().json["ids"][0]},
        }
        hook.deliver(b"src=1")
        (unreadable,) = alice.client.get(f"/api/phone-systems/{phone_system_id}/unreadable-deliveries").json["items"]
        self.unreadable = {"id": phone_system_id, "delivery_id": unreadable["id"]}
        for path in (
            "/api/phone-systems",
            "/api/payment-accounts",
            "/api/api-credentials",
            "/api/api-keys",
            "/api/invitations",
        ):
            described = self.operations[f"POST {path}"].definition.raw["requestBody"]["content"]["application/json"]
            body = described["example"]
            if path == "/api/invitations":  # another one to the address of the example replaces it
                body = body | {"email": "dora@acme.example"}
            self.objects[f"{path}/{{id}}"] = {"id": alice.client.post(path, json=body).json["id"]}

    def path_parameters(self, label: str):
        if "{session_id}" in label:  # one that has not ended yet
            return {"session_id": str(self.start_session().id)}
        if "{delivery_id}" in label:
            return self.unreadable
        thing, of_one, _ = label.split(" ")[1].partition("/{id}")
        return self.hook if label == HOOK else self.objects.get(thing + of_one)

    def headers(self, operation) -> dict[str, str]:
        """A session of its own for each request: some end it."""
        schemes = [name for one in operation.definition.raw.get("security", ()) for name in one]
        if not schemes:
            return {}
        if schemes[0] == "webhook_credentials":
            return {"Authorization": self.webhook_credentials}
        started = self.start_session()
        subject = tokens.Subject(self.alice.user_id, self.alice.tenant_id, started.id)
        with self.app.app_context():
            if schemes[0] == "refresh_token":
                token = tokens.refresh_token(subject, started.refresh_id, timedelta(hours=1))
            else:
                token = tokens.access_token(subject)
        return {"Authorization": f"Bearer {token}"}

    def start_session(self) -> UserSession:
        with in_database(self.app):
            owner = select(Membership).where(Membership.user_id == self.alice.user_id)
            return sessions.start(db.session(), db.session.scalars(owner).one(), None, "")


@pytest.fixture
def contract(app, alice, bob):
    return Contract(app, alice)


def test_every_answer_is_as_described_and_nothing_wrong_is_taken(app, contract):
    seen = {}
    # Deletions last: of what a thing has, of the thing, of all.
    deletions_last = sorted(
        contract.operations.items(),
        key=lambda it: (it[0].startswith("DELETE"), "{" not in it[0], -it[0].count("/")),
    )
    for label, operation in deletions_last:
        path, headers = contract.path_parameters(label), partial(contract.headers, operation)
        positive = operation.as_strategy(generation_mode=contract.modes.POSITIVE, path_parameters=path)
        seen[label] = converse(positive, headers, contract.checks)
        if has_input(operation):
            # A phone system is not refused for a number where the description has a text.
            checks = contract.checks if label == HOOK else [*contract.checks, contract.refused]
            app.extensions["rate_limiter"].storage.reset()  # or it is all that signing in answers with
            negative = operation.as_strategy(generation_mode=contract.modes.NEGATIVE, path_parameters=path)
            seen[label] |= converse(negative, headers, checks)
    for label, statuses in seen.items():
        if label.startswith(("GET", "DELETE")):
            assert statuses & {200, 201, 204}, label
        assert not has_input(contract.operations[label]) or 422 in statuses, label


def test_nothing_is_shown_or_taken_without_credentials(contract, app, alice):
    asking = {label: operation for label, operation in contract.operations.items() if contract.headers(operation)}
    assert len(asking) == len(contract.operations) - len({"/", "/healthz", "/readyz"} | PUBLIC_ROUTES)
    paths = {label: contract.path_parameters(label) for label in asking}
    wait_for_senders()
    before = contents(app)
    for label, operation in asking.items():
        strategy = operation.as_strategy(path_parameters=paths[label])
        for headers in ({"Authorization": "Bearer x"}, {}):
            assert converse(strategy, lambda it=headers: it, contract.checks, examples=3) == {401}, label
    assert contents(app) == before


def contents(app) -> dict[str, list[Any]]:
    """Every row there is, but for what says that somebody was refused."""
    tables = [table for table in db.metadata.sorted_tables if table.name != "audit_events"]
    with in_database(app), db.engine.connect() as connection:
        return {table.name: connection.execute(select(table)).all() for table in tables}


def has_input(operation) -> bool:
    described = operation.definition.raw
    return "requestBody" in described or any(parameter["in"] == "query" for parameter in described["parameters"])


def converse(strategy, headers, checks, examples=EXAMPLES) -> set[int]:
    """Send ``strategy``'s requests and check the answers. The statuses that were seen."""
    seen = set()

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def send(case):
        answer = case.call(headers=headers())
        seen.add(answer.status_code)
        case.validate_response(answer, checks=checks)

    send()
    return seen
