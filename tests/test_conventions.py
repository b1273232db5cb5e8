"""The rules that a reader would otherwise have to remember."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, select, text

from app import BLUEPRINTS
from app.config import VARIABLES
from app.dashboard import access as pages
from app.encryption import inventory
from app.extensions import db
from app.identity import access
from app.limits.budget import cost_of
from app.tenancy import TenantOwned
from tests.calls.conftest import make_hook
from tests.dashboard.conftest import signed_in_visitor

ROOT = Path(__file__).parent.parent
WITHOUT_TOKEN = {access.public, access.phone_system, access.monitor}
PEOPLE_ONLY = {access.signed_in, access.signed_in_owner_or_admin, access.signed_in_owner, access.with_refresh_token}
PAGES = {pages.page, pages.page_for_owners_and_admins, pages.page_for_owners}  # with the browser's cookie
OPEN_TO_ALL = {access.public, pages.public_page, pages.way_out}
DECLARATIONS = WITHOUT_TOKEN | PEOPLE_ONLY | PAGES | OPEN_TO_ALL | {access.any_role, access.owner_or_admin}

# What Alice makes, by blueprint, for Charlie to try his hand at.
OBJECTS = {
    "phone_systems": ("/api/phone-systems", {"name": "Headquarters", "vendor": "asterisk", "password": "hunter2"}),
    "payment_accounts": ("/api/payment-accounts", {"provider": "paypal", "mode": "live", "client_secret": "hunter2"}),
    "api_credentials": ("/api/api-credentials", {"name": "Maps", "provider": "acme", "secret": "hunter2"}),
    "api_keys": ("/api/api-keys", {"name": "Wallboard", "role": "member"}),
    "invitations": ("/api/invitations", {"email": "dora@acme.example", "role": "member"}),
}

# What else he sends than to make such an object.
BODIES = {"/api/phone-systems/<uuid:id>/webhook-password": {"keep_previous_hours": 1}}

# What anybody may ask for: to get in, or to use a link that was mailed.
PUBLIC_ROUTES = {
    "/api/login",
    "/api/signup",
    "/api/signup/confirm",
    "/api/password-reset",
    "/api/password-reset/confirm",
    "/api/verify-email",
    "/api/invitations/accept",
}


# What may reach all tenants' rows, and why it has to.
SYSTEM_SCOPES = [
    ("app/api_keys/authentication.py", "_find"),  # finds out whose API key it is
    ("app/audit/service.py", "record_at_once"),  # what was refused may be about no tenant
    ("app/cli/accounts.py", "refusals"),  # the operator's commands: for any tenant
    ("app/cli/adoption.py", "adopt"),  # the operator's: for any tenant
    ("app/cli/audit.py", "list_events"),  # the operator's: of any tenant, and of none
    ("app/cli/develop.py", "develop"),  # looks whether there is any tenant
    ("app/doctor/__init__.py", "_of_database"),  # the operator looks at what is there of everybody
    ("app/identity/accounts.py", "_subdomains"),  # a password is not what any of the user's tenants is called
    ("app/identity/authentication.py", "authenticate"),  # finds out where the account's sessions are
    ("app/identity/authentication.py", "choose_membership"),  # finds out which tenant is signed in to
    ("app/identity/authentication.py", "memberships_of"),  # a user may belong to several tenants
    ("app/identity/refusals.py", "record"),  # finds out which tenants to tell
    ("app/identity/refusals.py", "record_lock_out"),  # finds out which tenants to tell
    ("app/identity/sessions.py", "end_where"),  # a user's sessions may be in several tenants
    ("app/identity/sessions.py", "list_page"),
    ("app/identity/throttle.py", "_count"),  # the same
    ("app/identity/trail.py", "record_for_each_tenant"),  # a change of an account is an event of each of its tenants
    ("app/phone_systems/webhook.py", "_find"),  # finds out whose phone system delivers
    ("app/startup.py", "check_start"),  # registers the encryption key
    ("app/status/figures.py", "collect"),  # keys, rotations and mails are nobody's in particular
    ("app/status/service.py", "_register_key_if_due"),
    ("app/status/values.py", "count_values"),  # how many values each key has, whosesoever they are
    ("app/tenants/invitations.py", "look_up"),  # finds out whose invitation a token is of
    ("app/tenants/sign_up.py", "_require_free"),  # a subdomain differs from all other tenants'
    ("app/web.py", "_require_checked_keys"),
]

# What the web role may do with each table. A migration that adds a table grants this, and gives it a policy.
WEB_PRIVILEGES = {
    "alembic_version": {"SELECT"},
    "api_credentials": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "api_keys": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "audit_events": {"SELECT", "INSERT"},
    "audit_seals": set(),
    "calls": {"SELECT", "INSERT", "UPDATE"},
    "encryption_keys": {"SELECT"},
    "encryption_rotations": {"SELECT"},
    "invitations": {"SELECT", "INSERT", "DELETE"},
    "mails": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "memberships": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "one_time_tokens": {"SELECT", "INSERT", "DELETE"},
    "payment_accounts": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "phone_systems": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "retired_encryption_keys": {"SELECT"},
    "sessions": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "signing_keys": set(),
    "sign_in_allowances": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "sign_ups": {"SELECT", "INSERT", "DELETE"},
    "tenants": {"SELECT", "INSERT"},
    "unreadable_deliveries": {"SELECT", "INSERT", "DELETE"},
    "users": {"SELECT", "INSERT", "UPDATE"},
}

# What it may do with single columns, on top of that.
WEB_COLUMN_PRIVILEGES = {
    ("tenants", "country", "UPDATE"),
    ("tenants", "name", "UPDATE"),
    ("tenants", "time_zone", "UPDATE"),
    ("tenants", "call_retention_days", "UPDATE"),
    ("tenants", "updated_at", "UPDATE"),
    ("tenants", "version", "UPDATE"),
}


def tenant_models():
    return [mapper.class_ for mapper in db.Model.registry.mappers if issubclass(mapper.class_, TenantOwned)]


def test_every_blueprint_with_routes_declares_who_may_use_it(app):
    assert {who for _, who in BLUEPRINTS} <= DECLARATIONS
    routed = {rule.endpoint.partition(".")[0] for rule in app.url_map.iter_rules()}
    files = {"openapi", "bootstrap"}  # the description of the API and Bootstrap's files are for everybody
    assert routed - files == set(app.extensions["access"]) - files
    assert len(BLUEPRINTS) == len({blueprint.name for blueprint, _ in BLUEPRINTS})


def test_what_is_declared_is_asked_before_any_view_is_run(app, client):
    declared = {"openapi": access.public} | app.extensions["access"]
    for rule in app.url_map.iter_rules():
        who = declared[rule.endpoint.partition(".")[0]]
        if who in OPEN_TO_ALL:
            continue
        url = re.sub(r"<[^>]+>", str(UUID(int=0)), rule.rule)
        for method in rule.methods - {"OPTIONS"}:
            answer = client.open(url, method=method)
            if who not in PAGES:
                assert answer.status_code == 401, (method, url)
            elif method == "POST":  # what was typed waits for whoever signs in
                assert "<h1>Sign in</h1>" in answer.text, (method, url)
            else:
                assert answer.headers["Location"] == f"/sign-in?next={url}", (method, url)


def test_every_route_of_a_tenant_answers_charlie_with_404(app, alice, bob, charlie):
    locations = {}
    for blueprint, (url, body) in OBJECTS.items():
        locations[blueprint] = alice.client.post(url, json=body).headers["Location"]
    newest, *_ = alice.client.get("/api/members").json["items"]
    locations["calls"] = f"/api/calls/{make_hook(app, alice).deliver().json['ids'][0]}"
    locations["members"], bodies = f"/api/members/{newest['id']}", {"members": {"role": "admin"}}
    bodies |= {blueprint: body for blueprint, (_, body) in OBJECTS.items()}
    before = {location: alice.client.get(location).json for location in locations.values()}
    locations["sessions"] = locations["account"] = f"/api/sessions/{alice.session_id}"
    locations["tenants"], locations["team"] = f"/tenants/{alice.tenant_id}", locations["members"]
    sessions = alice.client.get("/api/sessions").json
    browser = signed_in_visitor(app, charlie)
    own_form = {"csrf_token": browser.open("/overview").values("Sign out")["csrf_token"]}
    tried = set()
    for rule in app.url_map.iter_rules():
        blueprint = rule.endpoint.partition(".")[0]
        who, noun = app.extensions["access"].get(blueprint), blueprint.removesuffix("_pages")
        if who is None or who in WITHOUT_TOKEN | OPEN_TO_ALL or not rule.arguments:
            continue
        assert noun in locations, f"say above what Alice makes for {rule.rule}"
        of = "invitations" if "/invitations/" in rule.rule else noun
        url = re.sub(r"<[^>]+>", locations[of].rpartition("/")[2], rule.rule)
        for method in rule.methods - {"OPTIONS"}:
            if who in PAGES:
                form = own_form if method == "POST" else None
                answer = browser.client.open(url, method=method, data=form, headers={"Sec-Fetch-Site": "same-origin"})
            else:
                body = BODIES.get(rule.rule, bodies.get(noun)) if method in ("POST", "PATCH") else None
                answer = charlie.client.open(url, method=method, json=body)
            assert answer.status_code == 404, (method, url)
            tried.add(noun)
    assert tried == locations.keys()
    assert alice.client.get("/api/sessions").json == sessions
    assert {location: alice.client.get(location).json for location in before} == before


def test_every_route_under_api_belongs_to_a_tenant_or_signs_in(app):
    for rule in app.url_map.iter_rules():
        who = app.extensions["access"].get(rule.endpoint.partition(".")[0])
        assert (who is access.public and rule.rule.startswith("/api/")) == (rule.rule in PUBLIC_ROUTES), rule


def test_every_route_of_a_tenant_says_what_it_costs(app):
    free = OPEN_TO_ALL | {access.monitor}
    with app.app_context():
        undeclared = [
            rule.endpoint
            for rule in app.url_map.iter_rules()
            if app.extensions["access"].get(rule.endpoint.partition(".")[0], access.public) not in free
            and cost_of(rule.endpoint) is None
        ]
    assert undeclared == [], "say @costs(…) beside the route: see app/limits/budget.py"


def test_reading_changes_nothing(app):
    for rule in app.url_map.iter_rules():
        assert "GET" not in rule.methods or not rule.methods & {"POST", "PATCH", "PUT", "DELETE"}, rule
        assert "PUT" not in rule.methods


def test_every_tenant_table_has_its_tenant_and_composite_keys(app):
    with app.app_context():
        schema = inspect(db.engine)
        for table in (model.__tablename__ for model in tenant_models()):
            columns = {column["name"]: column for column in schema.get_columns(table)}
            assert columns["tenant_id"]["nullable"] is (table == "audit_events")  # some are about no tenant
            keys = [key["column_names"] for key in schema.get_unique_constraints(table)]
            assert ["tenant_id", "id"] in keys, table
            targets = {model.__tablename__ for model in tenant_models()}
            for key in schema.get_foreign_keys(table):
                if key["referred_table"] in targets:
                    assert key["constrained_columns"][0] == "tenant_id", (table, key)
                    assert key["referred_columns"] == ["tenant_id", "id"], (table, key)


def test_every_table_with_a_tenant_id_is_a_tenants_own():
    with_tenant_id = {table.name for table in db.metadata.tables.values() if "tenant_id" in table.columns}
    assert with_tenant_id == {model.__tablename__ for model in tenant_models()}


def functions(node: ast.AST, name: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every node below this one, with the function that it is in."""
    for child in ast.iter_child_nodes(node):
        inside = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else name
        yield inside, child
        yield from functions(child, inside)


def test_what_reaches_all_tenants_is_listed():
    found = {}
    for path in sorted((ROOT / "app").rglob("*.py")):
        for function, node in functions(ast.parse(path.read_text())):
            name = getattr(node, "id", None) or getattr(node, "attr", None)
            if name in ("system_scope", "ALL_TENANTS") and path.parent.name != "tenancy":
                found.setdefault((str(path.relative_to(ROOT)), function), []).append(node)
    assert sorted(found) == SYSTEM_SCOPES
    assert {place: len(nodes) for place, nodes in found.items() if len(nodes) > 1} == {}


def test_no_connection_goes_past_the_scope():
    """The engines of their own are the rotation's, which works on all tenants' rows, that of another application's
    database, the doctor's, which asks where ROTATION_DATABASE_URL leads, and an empty one in memory."""
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "app").rglob("*.py")
        if re.search(r"create_engine\(|raw_connection|import psycopg", path.read_text())
    }
    assert found == {
        "app/adoption/tables.py",
        "app/backups/tables.py",
        "app/doctor/database.py",
        "app/encryption/connections.py",
    }


def imported(path: Path) -> Iterator[str]:
    """Each module that is imported there, and those that it is in."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[: count + 1]) for count in range(len(parts)))


def test_only_outbound_sends_requests_to_where_tenants_say():
    """The others ask what the operator has chosen: a store of secrets, the mail provider, their own ports, Redis."""
    senders = {"aiohttp", "asyncio", "boto3", "ftplib", "http.client", "httpx", "hvac", "requests", "smtplib", "socket"}
    senders |= {"requests_hardened", "urllib.request", "urllib3", "websocket", "websockets", "xmlrpc.client"}
    found = {
        str(path.relative_to(ROOT)): names
        for path in (ROOT / "app").rglob("*.py")
        if (names := senders.intersection(imported(path)))
    }
    assert found == {
        "app/cli/develop.py": {"socket"},
        "app/doctor/services.py": {"socket"},
        "app/mail/resend.py": {"requests"},
        "app/outbound/exchange.py": {"http.client", "socket"},
        "app/outbound/metered.py": {"socket"},
        "app/secret_sources/aws.py": {"boto3"},
        "app/secret_sources/vault.py": {"hvac", "requests"},
    }


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_every_tenant_table_shows_a_tenant_its_own_rows_alone(app):
    owned = {model.__tablename__: "tenant_id" for model in tenant_models()} | {"tenants": "id"}
    with app.app_context(), db.engine.connect() as connection:
        secured = connection.execute(
            text("SELECT relname, relforcerowsecurity FROM pg_class WHERE relrowsecurity AND relkind = 'r'")
        )
        assert {tuple(row) for row in secured} == {(table, False) for table in owned}
        policies = connection.execute(
            text("SELECT tablename, permissive, cmd, roles, qual, with_check FROM pg_policies")
        )
        for table, *kind, roles, using, check in policies:
            condition = f"({owned.pop(table)} = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid)"
            assert (kind, roles, using, check) == (["PERMISSIVE", "ALL"], ["public"], condition, condition), table
        assert owned == {}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_web_role_may_do_with_each_table_what_is_listed(app):
    assert WEB_PRIVILEGES.keys() == db.metadata.tables.keys() | {"alembic_version"}
    with app.app_context(), db.engine.connect() as connection:
        given = {table: set() for table in WEB_PRIVILEGES}
        granted = "SELECT table_name, privilege_type FROM information_schema.role_table_grants"
        for table, privilege in connection.execute(text(f"{granted} WHERE grantee IN (current_user, 'PUBLIC')")):
            if table in given:
                given[table].add(privilege)
        assert given == WEB_PRIVILEGES
        single = (
            "SELECT attrelid::regclass::text, attname, acl.privilege_type"
            " FROM pg_attribute CROSS JOIN aclexplode(attacl) AS acl"
            " WHERE acl.grantee = current_user::regrole AND attacl IS NOT NULL"
        )
        assert {tuple(row) for row in connection.execute(text(single))} == WEB_COLUMN_PRIVILEGES


def test_every_encrypted_column_is_in_the_inventory_and_guarded_by_the_database(app):
    listed = {(column.table.name, column.storage.name) for column in inventory(db.metadata)}
    with app.app_context():
        schema = inspect(db.engine)
        found = {
            (table, column["name"])
            for table in schema.get_table_names()
            for column in schema.get_columns(table)
            if column["name"].endswith("_encrypted")
        }
        assert listed == found
        for table, storage in listed:
            attribute = storage.removesuffix("_encrypted")
            checks = {check["name"]: check["sqltext"] for check in schema.get_check_constraints(table)}
            assert storage in checks[f"ck_{table}_{attribute}_sealed"]
            keys = {tuple(key["constrained_columns"]): key for key in schema.get_foreign_keys(table)}
            key = keys[(f"{attribute}_key_id",)]
            assert key["name"] == f"fk_{table}_{attribute}_key_id"
            assert (key["referred_table"], key["referred_columns"]) == ("encryption_keys", ["id"])
            computed = {column["name"]: column.get("computed") for column in schema.get_columns(table)}
            assert computed[f"{attribute}_key_id"]["persisted"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_migrated_database_has_no_user_no_tenant_and_nothing_else(database_url):
    engine = create_engine(database_url)
    with engine.connect() as connection:
        rows = {table.name: len(connection.execute(select(table)).all()) for table in db.metadata.sorted_tables}
    engine.dispose()
    assert rows.keys() >= {"users", "tenants", "memberships", "api_keys"}
    assert {name: count for name, count in rows.items() if count} == {}


def test_models_and_migrations_agree(app):
    with app.app_context(), db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), db.metadata) == []


@pytest.mark.parametrize("path", [".env.example", "docs/configuration.md"])
def test_every_configuration_variable_is_described(path):
    text = (ROOT / path).read_text()
    assert [variable.name for variable in VARIABLES if not re.search(rf"\b{variable.name}\b", text)] == []
